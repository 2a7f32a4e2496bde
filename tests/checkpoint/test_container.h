// SPDX-License-Identifier: GPL-2.0-or-later
// A small container made for one test, and everything of it gone afterwards.
#pragma once

#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>

#include "base/subprocess.h"
#include "checkpoint/network.h"
#include "checkpoint/oci_runtime.h"
#include "checkpoint/restore_scope.h"
#include "tests/support/run_task.h"
#include "tests/support/temporary_directory.h"

namespace vmigrate {

class TestContainer {
 public:
  TestContainer(asio::thread_pool& pool, std::string runtime, const std::string& mode = "ticks",
                NetworkSpec network = {})
      : runtime_name_(std::move(runtime)), runtime_(make_oci_runtime(pool, runtime_name_)) {
    static int count = 0;
    id_ = "vmtest-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
    network.namespace_name = id_;
    network_ = run_task(prepare_network(pool, std::move(network)));
    fill(mode);
    run_checked({.argv = {runtime_name_, "run", "--detach", "--bundle", bundle(), id_}, .discards_output = true},
                Errc::internal);
    wait_for_ticks();
  }
  TestContainer(const TestContainer&) = delete;
  TestContainer& operator=(const TestContainer&) = delete;
  ~TestContainer() { RestoreScope({.id = id_, .runtime = runtime_name_, .bundle = bundle()}).remove_everything(); }

  ContainerRuntime& runtime() { return *runtime_; }
  const std::string& id() const { return id_; }
  ContainerInfo info() { return run_task(runtime_->inspect(id_)); }
  std::filesystem::path bundle() const { return directory_.path(); }
  std::filesystem::path rootfs() const { return bundle() / "rootfs"; }
  std::string cgroups_path() const { return "/" + id_; }

  unsigned long ticks() const {
    unsigned long tick = 0;
    std::ifstream(rootfs() / "ticks") >> tick;
    return tick;
  }
  /// Whether the number changes within 100 ms.
  bool is_ticking() const {
    const auto before = ticks();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return ticks() != before;
  }

 private:
  void wait_for_ticks() const {
    for (int tries = 0; tries < 300 && ticks() == 0; ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }

  void fill(const std::string& mode) {
    for (const auto* name : {"bin", "dev", "proc", "sys"}) std::filesystem::create_directories(rootfs() / name);
    std::filesystem::copy_file(VMIGRATE_CONTAINER_PROBE, rootfs() / "bin/probe");
    std::ofstream(bundle() / "config.json")
        << R"({"ociVersion":"1.0.2","process":{"terminal":false,"user":{"uid":0,"gid":0},
      "args":["/bin/probe",")"
        << mode << R"("],"cwd":"/","env":["PATH=/bin"]},"root":{"path":"rootfs"},"hostname":"vmtest",
      "mounts":[{"destination":"/proc","type":"proc","source":"proc"},
                {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755","size=64k"]}],
      "linux":{"cgroupsPath":")"
        << cgroups_path() << R"(","resources":{"devices":[{"allow":false,"access":"rwm"}]},
               "namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"},{"type":"cgroup"},
               {"type":"network","path":")"
        << network_->namespace_path() << R"("}]}})";
  }

  std::string runtime_name_;
  std::unique_ptr<ContainerRuntime> runtime_;
  std::string id_;
  TestDirectory directory_;
  std::unique_ptr<PreparedNetwork> network_;
};

}  // namespace vmigrate

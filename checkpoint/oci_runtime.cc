// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/oci_runtime.h"

#include <filesystem>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/subprocess.h"
#include "checkpoint/cgroup.h"
#include "checkpoint/container_config.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto kCommandTimeout = 20s;
constexpr auto kFreezeTimeout = 10s;  // a task in uninterruptible sleep, on a slow disk say, freezes when it wakes
constexpr auto kKillTimeout = 10s;
constexpr auto kStartTimeout = 60s;

ContainerStatus status_from(const std::string& word) {
  if (word == "running") return ContainerStatus::running;
  if (word == "paused") return ContainerStatus::paused;
  if (word == "stopped") return ContainerStatus::stopped;
  return ContainerStatus::created;  // "creating" as well: neither can be moved
}

/// Relative to the bundle, as the OCI specification has it; absolute and without links where it exists.
std::filesystem::path rootfs_of(const std::filesystem::path& bundle) {
  const auto config = json::parse(read_config(bundle));
  const auto rootfs = bundle / config.at("root").at("path").get<std::string>();
  std::error_code failure;
  const auto found = std::filesystem::weakly_canonical(rootfs, failure);
  if (failure) throw Error(failure.value(), "realpath", rootfs.native());
  return found;
}

ContainerInfo info_from(const std::string& state_json, const std::string& runtime) {
  try {
    const auto state = json::parse(state_json);
    ContainerInfo info{.id = state.at("id"), .runtime = runtime};
    info.status = status_from(state.at("status"));
    const bool has_tasks = info.status == ContainerStatus::running || info.status == ContainerStatus::paused;
    if (has_tasks) info.init_pid = state.at("pid");
    info.bundle = state.at("bundle").get<std::string>();
    info.rootfs = rootfs_of(info.bundle);
    return info;
  } catch (const json::exception& unexpected) {
    throw Error(Errc::incompatible_host,
                "`" + runtime + " state` or config.json is not understood: " + unexpected.what());
  }
}

bool means_unknown(const std::string& errors) {
  return errors.find("does not exist") != std::string::npos ||
         errors.find("No such file or directory") != std::string::npos;
}

/// Throws Error(criu_missing) if there is no such runtime.
CommandResult run_runtime(const std::vector<std::string>& words) try {
  return run_command({.argv = words, .timeout = kCommandTimeout});
} catch (const Error& error) {
  if (error.code() != std::errc::no_such_file_or_directory) throw;
  throw Error(Errc::criu_missing, words[0] + " is not installed; scripts/setup installs it");
}

bool is_missing(const Error& error) { return error.code() == Errc::criu_missing; }

/// Nothing if the runtime does not know the container.
std::optional<ContainerInfo> ask(const std::string& runtime, const std::string& id) {
  const auto result = run_runtime({runtime, "state", id});
  if (result.exit_status == 0) return info_from(result.output, runtime);
  if (means_unknown(result.errors)) return std::nullopt;
  throw Error(Errc::incompatible_host, "`" + runtime + " state " + id + "` failed: " + first_line_of(result.errors));
}

/// A runtime that is gone may have left the container behind: its state directory tells.
void refuse_orphan(const std::string& runtime, const std::string& id) {
  if (std::filesystem::exists("/run/" + runtime + "/" + id))
    throw Error(Errc::criu_missing, "container " + id + " belongs to " + runtime +
                                        ", which is not installed here; scripts/setup installs it");
}

[[noreturn]] void throw_missing(const std::vector<std::string>& runtimes) {
  throw Error(Errc::criu_missing, (runtimes.size() > 1 ? "neither runc nor crun" : "no " + runtimes.front()) +
                                      " is installed; scripts/setup installs both, and CRIU");
}

std::vector<std::string> list_of(const std::string& runtime) {
  const auto result = run_runtime({runtime, "list", "--quiet"});
  // crun has made no directory before its first container.
  if (result.exit_status != 0 && !means_unknown(result.errors))
    throw Error(Errc::incompatible_host, "`" + runtime + " list` failed: " + first_line_of(result.errors));
  std::vector<std::string> ids;
  std::istringstream lines(result.exit_status == 0 ? result.output : "");
  for (std::string id; std::getline(lines, id);)
    if (!id.empty()) ids.push_back(id);
  return ids;
}

/// As the file system knows them, also those whose runtime is gone, or passes over what it cannot read: asked for one
/// of them it says what is wrong.
std::vector<std::string> directories_of(const std::string& runtime) {
  std::vector<std::string> ids;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/run/" + runtime, none))
    if (entry.is_directory()) ids.push_back(entry.path().filename());
  return ids;
}

std::vector<std::string> list_of_all(const std::vector<std::string>& runtimes) {
  std::set<std::string> ids;
  bool has_asked = false;
  for (const auto& runtime : runtimes) {
    try {
      for (std::string& id : list_of(runtime)) ids.insert(std::move(id));
      has_asked = true;
    } catch (const Error& error) {
      if (!is_missing(error)) throw;
    }
    for (std::string& id : directories_of(runtime)) ids.insert(std::move(id));
  }
  if (!has_asked) throw_missing(runtimes);
  return {ids.begin(), ids.end()};
}

ContainerInfo ask_all(const std::vector<std::string>& runtimes, const std::string& id) {
  std::string asked;
  for (const auto& runtime : runtimes) {
    try {
      if (auto info = ask(runtime, id)) return *info;
      asked += (asked.empty() ? "" : " and ") + runtime;
    } catch (const Error& error) {
      if (!is_missing(error)) throw;
      refuse_orphan(runtime, id);
    }
  }
  if (!asked.empty())
    throw Error(Errc::unknown_container,
                "there is no container " + id + " (asked " + asked + "); check the name and the host");
  throw_missing(runtimes);
}

Cgroup cgroup_of(const ContainerInfo& container) {
  auto cgroup = container.init_pid > 1 ? Cgroup::of_container(container.init_pid) : std::nullopt;
  if (!cgroup) throw Error(Errc::container_not_running, "container " + container.id + " is not running");
  return *cgroup;
}

void freeze(const ContainerInfo& container) {
  const Cgroup cgroup = cgroup_of(container);
  if (const pid_t stopped = cgroup.stopped_process())
    throw Error(Errc::unsupported_container,
                "process " + std::to_string(stopped) + " of container " + container.id +
                    " is stopped, which CRIU cannot write down under cgroup v1: let it go on (SIGCONT)");
  cgroup.freeze(kFreezeTimeout);
}

void forget(const ContainerInfo& container) {
  const auto result = run_runtime({container.runtime, "delete", "--force", container.id});
  if (result.exit_status != 0 && !means_unknown(result.errors))
    throw Error(Errc::internal, "`" + container.runtime + " delete --force " + container.id +
                                    "` failed: " + first_line_of(result.errors));
}

void kill_and_forget(const ContainerInfo& container) {
  // The pid we were told may have been given to somebody else since: only what the runtime says now is believed.
  const auto now = ask(container.runtime, container.id);
  if (!now) return;
  const auto cgroup = now->init_pid > 1 ? Cgroup::of_container(now->init_pid) : std::nullopt;
  if (cgroup) cgroup->kill(kKillTimeout);
  forget(container);
}

void run_detached(const ContainerInfo& container) {
  const auto result = run_command({.argv = {container.runtime, "run", "--detach", "--bundle", container.bundle,
                                            container.id},
                                   .discards_output = true,
                                   .timeout = kStartTimeout});
  if (result.exit_status != 0)
    throw Error(Errc::restore_failed, container.runtime + " could not start container " + container.id +
                                          " from its disk: status " + std::to_string(result.exit_status));
}

class OciRuntime final : public ContainerRuntime {
 public:
  OciRuntime(asio::thread_pool& pool, std::vector<std::string> runtimes)
      : pool_(pool), runtimes_(std::move(runtimes)) {}

  Task<std::vector<std::string>> list() override {
    const auto work = [runtimes = runtimes_] { return list_of_all(runtimes); };
    co_return co_await offload(pool_, work);
  }

  Task<ContainerInfo> inspect(std::string id) override {
    check_container_id(id);
    const auto work = [runtimes = runtimes_, id] { return ask_all(runtimes, id); };
    co_return co_await offload(pool_, work);
  }

  Task<> pause(const ContainerInfo& container) override {
    const auto work = [container] { freeze(container); };
    co_await offload(pool_, work);
  }

  Task<> resume(const ContainerInfo& container) override {
    const auto work = [container] { cgroup_of(container).thaw(); };
    co_await offload(pool_, work);
  }

  Task<> start(const ContainerInfo& container) override {
    const auto work = [container] { run_detached(container); };
    co_await offload(pool_, work);
  }

  Task<bool> is_frozen(const ContainerInfo& container) override {
    const auto work = [container] {
      const auto cgroup = container.init_pid > 1 ? Cgroup::of_container(container.init_pid) : std::nullopt;
      return cgroup && cgroup->is_frozen();
    };
    co_return co_await offload(pool_, work);
  }

  Task<> destroy(const ContainerInfo& container) override {
    const auto work = [container] { kill_and_forget(container); };
    co_await offload(pool_, work);
  }

 private:
  asio::thread_pool& pool_;
  std::vector<std::string> runtimes_;
};

}  // namespace

std::unique_ptr<ContainerRuntime> make_oci_runtime(asio::thread_pool& pool, const std::string& name) {
  if (name == "auto") return std::make_unique<OciRuntime>(pool, std::vector<std::string>{"runc", "crun"});
  if (name != "runc" && name != "crun") throw Error(Errc::usage, "the runtime is runc, crun or auto");
  return std::make_unique<OciRuntime>(pool, std::vector<std::string>{name});
}

}  // namespace vmigrate

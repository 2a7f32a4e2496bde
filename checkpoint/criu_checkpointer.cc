// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/criu_checkpointer.h"

#include <signal.h>

#include <exception>

#include "base/error.h"
#include "base/log.h"
#include "base/subprocess.h"
#include "checkpoint/cgroup.h"
#include "checkpoint/criu_command.h"
#include "checkpoint/criu_log.h"
#include "checkpoint/live_process.h"
#include "checkpoint/restore_scope.h"
#include "checkpoint/stopped_tasks.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto kCheckTimeout = 20s;
constexpr auto kRefreezeTimeout = 10s;
constexpr auto kPatienceWithDeadCriu = 2s;
constexpr const char* kRuntimeLog = "runtime.log";

// The container's link is down meanwhile, which isolates it better and costs less than CRIU's firewall rules (46 to 93
// ms, and they outlive a killed CRIU). Deleted files that are still open travel inside the checkpoint up to the limit.
constexpr const char* kDumpConfig = "network-lock skip\nghost-limit 67108864\n";
// CRIU delivers SIGSTOP before it lets go of a task, so that none runs before the cgroup is frozen.
constexpr const char* kRestoreConfig = "network-lock skip\nghost-limit 67108864\nleave-stopped\n";

[[noreturn]] void complain(const std::string& what) {
  throw Error(Errc::criu_missing, what + "; run scripts/setup on this host");
}

std::string first_line_of(const std::vector<std::string>& argv) {
  try {
    const auto result = run_command({.argv = argv, .timeout = kCheckTimeout});
    return result.output.substr(0, result.output.find('\n'));
  } catch (const Error& failure) {
    complain(failure.what());
  }
}

std::string last_word(const std::string& line) { return line.substr(line.rfind(' ') + 1); }

/// "runc 1.1.5". Throws Error(criu_missing).
std::string check_runtime(const std::string& runtime) {
  const std::string version = first_line_of({runtime, "--version"});
  if (version.empty()) complain("`" + runtime + " --version` says nothing");
  const auto help = run_command({.argv = {runtime, "checkpoint", "--help"}, .timeout = kCheckTimeout});
  if (help.exit_status != 0 || help.output.find("--tcp-established") == std::string::npos)
    complain("this " + runtime + " (" + last_word(version) + ") was built without checkpoint and restore");
  return runtime + " " + last_word(version);
}

/// "criu 4.2.1", seen to work under a configuration of ours. Throws Error(criu_missing).
std::string check_criu() {
  const std::string version = last_word(first_line_of({"criu", "--version"}));
  if (!fs::is_directory(kCriuConfigDirectory)) complain("the directory /etc/criu is missing");
  const auto check = run_command({.argv = with_criu_config(kDumpConfig, {"criu", "check"}), .timeout = kCheckTimeout});
  if (check.exit_status == 0 && (check.output + check.errors).find("Looks good") != std::string::npos)
    return "criu " + version;
  const std::string why = reason_in_criu_log(check.errors);
  complain("criu " + version + " cannot work on this kernel" + (why.empty() ? "" : ": " + why));
}

std::string check_both(const std::string& runtime) {
  if (runtime != "runc" && runtime != "crun") throw Error(Errc::usage, "the runtime is runc or crun");
  const std::string runtime_version = check_runtime(runtime);
  return check_criu() + ", " + runtime_version;
}

/// CRIU's own reason, else the runtime's, else how it ended.
std::string reason_of(const fs::path& images, const std::string& criu_log, const CommandResult& result) {
  std::string reason = reason_in_criu_log_file(images / criu_log);
  if (reason.empty()) reason = last_line_of_file(images / kRuntimeLog);
  return reason.empty() ? "status " + std::to_string(result.exit_status) : reason;
}

std::vector<std::string> runtime_command(const std::string& runtime, const std::string& verb, const fs::path& images) {
  const auto log = (images / kRuntimeLog).string();
  return {runtime,        "--log",        log,    verb,          "--tcp-established",
          "--file-locks", "--image-path", images, "--work-path", images};
}

void append(std::vector<std::string>& words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
}

/// The runtimes wait for CRIU by a socket that the tasks it forked hold too.
Command criu_command(const std::string& config, const std::vector<std::string>& words,
                     std::chrono::milliseconds timeout) {
  return {.argv = with_criu_config(config, words),
          .discards_output = true,
          .timeout = timeout,
          .patience_with_dead_children = kPatienceWithDeadCriu};
}

/// Returns the reason of a failure; empty on success.
std::string run_dump(const ContainerInfo& container, const fs::path& images, std::chrono::milliseconds timeout) try {
  auto words = runtime_command(container.runtime, "checkpoint", images);
  append(words, {"--leave-running", container.id});
  const auto result = run_command(criu_command(kDumpConfig, words, timeout));
  return result.exit_status == 0 ? "" : reason_of(images, "dump.log", result);
} catch (const Error& failure) {
  return failure.what();
}

/// CRIU thaws the cgroup to seize its tasks, and freezes it again; killed in between it does not.
void check_still_frozen(const ContainerInfo& container) {
  const auto cgroup = Cgroup::of_container(container.init_pid);
  if (!cgroup)
    throw Error(Errc::container_not_running, "container " + container.id + " ended while it was written down");
  if (cgroup->is_frozen()) return;
  cgroup->freeze(kRefreezeTimeout);
  throw Error(Errc::checkpoint_failed, "container " + container.id + " ran on after it was written down");
}

void dump_blocking(const ContainerInfo& container, const fs::path& images, std::chrono::milliseconds timeout) {
  const std::string reason = run_dump(container, images, timeout);
  if (reason.empty()) return check_still_frozen(container);
  try {
    check_still_frozen(container);
  } catch (const Error& failure) {
    log(LogLevel::warn, "container=" + container.id + " event=dump_disturbed_freeze why=" + failure.what());
  }
  throw Error(Errc::checkpoint_failed, "CRIU could not write down container " + container.id + ": " + reason);
}

void run_restore(const ContainerInfo& container, const fs::path& images, std::chrono::milliseconds timeout) {
  auto words = runtime_command(container.runtime, "restore", images);
  append(words, {"--detach", "--bundle", container.bundle, container.id});
  const auto result = run_command(criu_command(kRestoreConfig, words, timeout));
  if (result.exit_status != 0) throw Error(Errc::restore_failed, reason_of(images, "restore.log", result));
}

/// The tasks stand still by SIGSTOP; afterwards they stand still by the freezer, and only those are stopped that had
/// been.
void exchange_stop_for_freeze(const ContainerInfo& container, const std::set<pid_t>& stays_stopped) {
  const auto cgroup = Cgroup::of_container(container.init_pid);
  if (!cgroup) throw Error(Errc::restore_failed, "container " + container.id + " ended at once");
  cgroup->freeze(kRefreezeTimeout);
  for (const pid_t pid : cgroup->processes())
    if (!stays_stopped.contains(pid_within_container(pid, container.init_pid))) ::kill(pid, SIGCONT);
  cgroup->freeze(kRefreezeTimeout);
}

class HeldContainer final : public RestoredContainer {
 public:
  HeldContainer(ContainerRuntime& runtime, ContainerInfo info)
      : runtime_(runtime), info_(std::move(info)), init_(info_.init_pid) {}
  HeldContainer(const HeldContainer&) = delete;
  HeldContainer& operator=(const HeldContainer&) = delete;
  ~HeldContainer() override {
    if (!is_released_) RestoreScope(info_).remove_everything();
  }

  const ContainerInfo& info() const override { return info_; }

  Task<> resume() override {
    // Its number may be another process's by now, which perhaps must not go on.
    if (!init_.is_alive())
      throw Error(Errc::container_not_running, "the processes of container " + info_.id + " were killed meanwhile");
    co_await runtime_.resume(info_);
    info_.status = ContainerStatus::running;
    is_released_ = true;
  }

  void release() noexcept override { is_released_ = true; }

 private:
  ContainerRuntime& runtime_;
  ContainerInfo info_;
  LiveProcess init_;
  bool is_released_ = false;
};

class CriuCheckpointer final : public Checkpointer {
 public:
  CriuCheckpointer(asio::thread_pool& pool, ContainerRuntime& runtime, CriuLimits limits)
      : pool_(pool), runtime_(runtime), limits_(limits) {}

  Task<std::string> check(std::string runtime) override {
    // Here as elsewhere the lambda has a name: g++ 12 destroys the captures of an unnamed one in a co_await twice.
    const auto work = [runtime] { return check_both(runtime); };
    co_return co_await offload(pool_, work);
  }

  Task<> dump(const FrozenContainer& container, ImageDir& into) override {
    const ContainerInfo info = container.info();
    const fs::path images = into.path();
    const auto timeout = limits_.dump_timeout;
    const auto work = [info, images, timeout] { dump_blocking(info, images, timeout); };
    co_await offload(pool_, work);
  }

  Task<std::unique_ptr<RestoredContainer>> restore(ContainerInfo container, const ImageDir& from) override {
    check_container_id(container.id);
    co_await refuse_if_known(container);
    const auto work = [&from] { return stopped_tasks(from); };
    std::set<pid_t> stopped = co_await offload(pool_, work);
    const fs::path images = from.path();
    std::exception_ptr failure;
    std::unique_ptr<RestoredContainer> held;
    try {
      ContainerInfo restored = co_await restore_held(container, images, std::move(stopped));
      held = std::make_unique<HeldContainer>(runtime_, std::move(restored));
    } catch (const std::exception&) {
      failure = std::current_exception();
    }
    if (!failure) co_return held;
    const auto clean_up = [container, images] { RestoreScope(container, images).remove_everything(); };
    co_await offload(pool_, clean_up);
    std::rethrow_exception(failure);
  }

  Task<std::unique_ptr<RestoredContainer>> adopt(std::string id) override {
    ContainerInfo container;
    bool is_held = false;
    try {
      container = co_await runtime_.inspect(id);
      is_held = co_await runtime_.is_frozen(container);
    } catch (const Error& error) {
      if (error.code_or(Errc::internal) != Errc::unknown_container) throw;
    }
    if (!is_held) co_return nullptr;
    co_return std::make_unique<HeldContainer>(runtime_, std::move(container));
  }

 private:
  /// What is there already is not ours to remove when the restore fails.
  Task<> refuse_if_known(ContainerInfo container) {
    bool is_known = true;
    try {
      co_await runtime_.inspect(container.id);
    } catch (const Error& error) {
      if (error.code_or(Errc::internal) != Errc::unknown_container) throw;
      is_known = false;
    }
    if (is_known) throw Error(Errc::already_exists, "this host has a container " + container.id + " already");
    const auto work = [container] { RestoreScope(container).check_empty(); };
    co_await offload(pool_, work);
  }

  Task<ContainerInfo> restore_held(ContainerInfo container, fs::path images, std::set<pid_t> stopped) {
    const auto timeout = limits_.restore_timeout;
    const auto in_words = [container, images, timeout] {
      try {
        run_restore(container, images, timeout);
      } catch (const Error& error) {
        throw Error(Errc::restore_failed, "CRIU could not restore container " + container.id + ": " + error.what());
      }
    };
    co_await offload(pool_, in_words);
    ContainerInfo restored = co_await runtime_.inspect(container.id);
    const auto work = [restored, stopped] { exchange_stop_for_freeze(restored, stopped); };
    co_await offload(pool_, work);
    restored.status = ContainerStatus::paused;
    co_return restored;
  }

  asio::thread_pool& pool_;
  ContainerRuntime& runtime_;
  CriuLimits limits_;
};

}  // namespace

std::unique_ptr<Checkpointer> make_criu_checkpointer(asio::thread_pool& pool, ContainerRuntime& runtime,
                                                     CriuLimits limits) {
  return std::make_unique<CriuCheckpointer>(pool, runtime, limits);
}

}  // namespace vmigrate

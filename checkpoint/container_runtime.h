// SPDX-License-Identifier: GPL-2.0-or-later
// runc, crun, or a fake.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/async.h"

namespace vmigrate {

enum class ContainerStatus { created, running, paused, stopped };

/// What the runtime's own state says about one container.
struct ContainerInfo {
  std::string id;
  std::string runtime;             ///< "runc" or "crun"
  ContainerStatus status = ContainerStatus::stopped;
  pid_t init_pid = 0;              ///< in our PID namespace; 0 unless running or paused
  std::filesystem::path bundle;    ///< directory of config.json
  std::filesystem::path rootfs;    ///< absolute, symlinks resolved
};

/// Throws Error(Errc::invalid_name) unless `id` is what every runtime accepts: 1 to 255 of [A-Za-z0-9_+.-], not
/// starting with '-' or
/// '.', no slash, no "..". Checked before the id goes anywhere near a path or a command line.
void check_container_id(const std::string& id);

/// One OCI runtime. Blocking work runs off the executor; every command has a deadline.
class ContainerRuntime {
 public:
  virtual ~ContainerRuntime() = default;
  /// The ids of all containers it knows, in any state. Throws Error(Errc::criu_missing) where there is no runtime.
  virtual Task<std::vector<std::string>> list() = 0;
  /// Throws Error(Errc::unknown_container).
  virtual Task<ContainerInfo> inspect(std::string id) = 0;
  /// Freezes the cgroup; returns once every task is frozen. Throws Error and leaves it running: freeze_timed_out;
  /// container_not_running; unsupported_container if a task is stopped by a signal, which CRIU cannot write down under
  /// cgroup v1.
  virtual Task<> pause(const ContainerInfo& container) = 0;
  virtual Task<> resume(const ContainerInfo& container) = 0;
  /// Starts `container.id` from its bundle, as after a boot. Throws Error(Errc::restore_failed).
  virtual Task<> start(const ContainerInfo& container) = 0;
  /// True only when the kernel says every task of the cgroup is frozen.
  virtual Task<bool> is_frozen(const ContainerInfo& container) = 0;
  /// Kills every task, frozen or not, without letting one run another instruction of its own, and forgets the
  /// container. Idempotent.
  virtual Task<> destroy(const ContainerInfo& container) = 0;
};

}  // namespace vmigrate

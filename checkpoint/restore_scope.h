// SPDX-License-Identifier: GPL-2.0-or-later
// Everything a restore can leave on a host, so that it can be taken away again.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/cgroup.h"
#include "checkpoint/container_runtime.h"

namespace vmigrate {

/// The cgroup, the runtime's records and the mounts of a container that is being restored. A restore that failed before
/// the runtime wrote its state can be found by its cgroup only. All operations block.
class RestoreScope {
 public:
  explicit RestoreScope(ContainerInfo container, std::filesystem::path images = {});
  /// Throws Error(Errc::already_exists) if tasks are in a cgroup that the restored container would get.
  void check_empty() const;
  /// Kills every task (thawing only those that are killed), forgets the container, unmounts what CRIU mounted and
  /// removes its log. Logs what fails.
  void remove_everything() const noexcept;

 private:
  std::vector<Cgroup> cgroups() const;
  void remove_tasks() const;
  void remove_records() const;
  void remove_work() const;

  ContainerInfo container_;
  std::filesystem::path images_;
};

}  // namespace vmigrate

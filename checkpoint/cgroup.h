// SPDX-License-Identifier: GPL-2.0-or-later
// The cgroup of a container as a freezer and as a way to kill. Written to directly: starting the runtime for it would
// cost tens of milliseconds inside the pause, and the runtimes read their "paused" back from the same files.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmigrate {

/// A cgroup of the hierarchy that freezes: the v1 freezer where there is one, else v2 (also at /sys/fs/cgroup/unified).
/// It stands for everything beneath it, too. All operations block.
class Cgroup {
 public:
  enum class Version { v1, v2 };

  /// The cgroup the container of `init` was put into, even if its init moved itself deeper within its own cgroup
  /// namespace. Nothing if the process is gone. Throws Error if it is a cgroup that must not be frozen: the root, or
  /// ours.
  static std::optional<Cgroup> of_container(pid_t init);
  /// The cgroup `path` as /proc/PID/cgroup would name it; nothing if it does not exist or must not be frozen.
  static std::optional<Cgroup> at(const std::string& path);
  /// The directory of the same cgroup in the hierarchy of another controller, "cpu" for example; in v2 it may lack that
  /// controller's files. Empty if there is none.
  static std::filesystem::path directory_of_container(pid_t init, std::string_view controller);
  /// The path of our own cgroup in that hierarchy, as in /proc/self/cgroup.
  static std::string path_of_ours();

  const std::filesystem::path& directory() const { return directory_; }
  bool exists() const;
  /// True only when the kernel says that every task is frozen.
  bool is_frozen() const;
  /// Returns once is_frozen(). Throws Error: freeze_timed_out, container_not_running if it has gone; then it is thawed
  /// again, unless it stood still before.
  void freeze(std::chrono::milliseconds timeout) const;
  /// Throws Error.
  void thaw() const;
  /// Every process, in our PID namespace.
  std::vector<pid_t> processes() const;
  /// A process that is stopped by a signal, where CRIU could not write it down: it waits for ever to seize one whose
  /// cgroup is frozen by the v1 freezer. To be asked before the freeze, which hides it. 0 if there is none.
  pid_t stopped_process() const;
  /// Kills every process; one that is frozen executes no instruction of its own any more. Throws Error(Errc::timed_out)
  /// if something is left after `timeout`.
  void kill(std::chrono::milliseconds timeout) const;
  /// Removes `path` and what is beneath from every mounted hierarchy, as far as no tasks are in it.
  static void remove(const std::string& path);

 private:
  Cgroup(Version version, std::filesystem::path directory) : version_(version), directory_(std::move(directory)) {}
  void request(bool frozen) const;
  void await_frozen(std::chrono::milliseconds timeout) const;
  void signal_all() const;

  Version version_;
  std::filesystem::path directory_;
};

}  // namespace vmigrate

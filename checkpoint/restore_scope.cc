// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/restore_scope.h"

#include <chrono>

#include "base/error.h"
#include "base/log.h"
#include "base/subprocess.h"
#include "checkpoint/container_config.h"
#include "checkpoint/mounts.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto kKillTimeout = 10s;
constexpr auto kDeleteTimeout = 20s;

/// Where runc and crun put a container: where its config says, below our own cgroup if that is relative, and if it says
/// nothing under its id.
std::vector<std::string> possible_paths(const ContainerInfo& container) {
  const std::string path = cgroups_path_of(read_config(container.bundle));
  const std::string name = path.empty() ? container.id : path;
  if (path.starts_with("/")) return {path};
  const std::string ours = Cgroup::path_of_ours();
  std::vector<std::string> paths = {"/" + name};
  if (ours != "/") paths.push_back(ours + "/" + name);
  return paths;
}

void attempt(const std::string& id, const char* what, const auto& action) noexcept {
  try {
    action();
  } catch (const std::exception& failure) {
    log(LogLevel::warn, "container=" + id + " event=left_behind what=" + what + " why=" + failure.what());
  }
}

}  // namespace

RestoreScope::RestoreScope(ContainerInfo container, fs::path images)
    : container_(std::move(container)), images_(std::move(images)) {}

std::vector<Cgroup> RestoreScope::cgroups() const {
  std::vector<Cgroup> found;
  for (const auto& path : possible_paths(container_))
    if (const auto cgroup = Cgroup::at(path)) found.push_back(*cgroup);
  return found;
}

void RestoreScope::check_empty() const {
  for (const auto& cgroup : cgroups()) {
    if (!cgroup.processes().empty())
      throw Error(Errc::already_exists, "the cgroup " + cgroup.directory().string() + " of container " + container_.id +
                                            " is in use on this host");
    // Frozen and empty is what a killed restore may have left; the next restore would wait in it for ever.
    if (cgroup.is_frozen()) cgroup.thaw();
  }
}

void RestoreScope::remove_everything() const noexcept {
  attempt(container_.id, "tasks", [this] { remove_tasks(); });
  attempt(container_.id, "records", [this] { remove_records(); });
  attempt(container_.id, "work", [this] { remove_work(); });
}

void RestoreScope::remove_tasks() const {
  for (const auto& cgroup : cgroups()) {
    cgroup.kill(kKillTimeout);
    if (cgroup.exists()) cgroup.thaw();
  }
}

void RestoreScope::remove_records() const {
  run_command({.argv = {container_.runtime, "delete", "--force", container_.id}, .timeout = kDeleteTimeout});
  // crun keeps the directory of a container whose restore failed, and refuses the next one because of it.
  if (container_.runtime == "crun") fs::remove_all(fs::path("/run/crun") / container_.id);
  for (const auto& path : possible_paths(container_)) Cgroup::remove(path);
}

void RestoreScope::remove_work() const {
  // crun's, beside config.json, and in the way of its next restore.
  const fs::path root = container_.bundle / "criu-root";
  if (fs::exists(root) && unmount_all_at_or_beneath(root)) fs::remove(root);
  if (images_.empty()) return;
  for (const auto& entry : fs::directory_iterator(images_)) {
    // A restorer that found its images short fills the space with its log.
    if (entry.is_regular_file() && entry.path().extension() == ".log") fs::remove(entry.path());
    // Images are files; only CRIU makes directories here.
    if (entry.is_directory() && unmount_all_at_or_beneath(entry.path())) fs::remove(entry.path());
  }
}

}  // namespace vmigrate

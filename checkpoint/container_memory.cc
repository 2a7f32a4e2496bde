// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/container_memory.h"

#include <sys/statvfs.h>

#include <fstream>
#include <sstream>
#include <string>

#include "checkpoint/cgroup.h"

namespace vmigrate {
namespace {

/// Only what is not in a file anyway: CRIU does not dump clean file pages.
std::uint64_t proportional_bytes(pid_t pid) {
  std::ifstream rollup("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::uint64_t kib = 0;
  for (std::string line; std::getline(rollup, line);) {
    std::istringstream words(line);
    std::string key;
    std::uint64_t value = 0;
    if (words >> key >> value && (key == "Pss_Anon:" || key == "Pss_Shmem:")) kib += value;
  }
  return kib * 1024;
}

std::uint64_t used_bytes_at(const std::string& path) {
  struct statvfs space {};
  if (::statvfs(path.c_str(), &space) != 0) return 0;
  return static_cast<std::uint64_t>(space.f_blocks - space.f_bfree) * space.f_frsize;
}

/// Mount points are seen through /proc/PID/root, which leads into the container's own mount namespace.
std::uint64_t tmpfs_bytes(pid_t init) {
  const std::string proc = "/proc/" + std::to_string(init);
  std::ifstream mounts(proc + "/mounts");
  std::uint64_t bytes = 0;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device, mount_point, type;
    if (words >> device >> mount_point >> type && type == "tmpfs") bytes += used_bytes_at(proc + "/root" + mount_point);
  }
  return bytes;
}

}  // namespace

ContainerMemory read_memory(pid_t init) {
  ContainerMemory memory;
  const auto cgroup = Cgroup::of_container(init);
  if (!cgroup) return memory;
  for (const pid_t pid : cgroup->processes()) memory.process_bytes += proportional_bytes(pid);
  memory.tmpfs_bytes = tmpfs_bytes(init);
  return memory;
}

}  // namespace vmigrate

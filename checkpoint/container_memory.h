// SPDX-License-Identifier: GPL-2.0-or-later
// How much a checkpoint of the running container would have to carry.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace vmigrate {

struct ContainerMemory {
  std::uint64_t process_bytes = 0;   ///< anonymous and shared memory of all processes, each page once (PSS)
  std::uint64_t tmpfs_bytes = 0;     ///< content of tmpfs mounts in the container, which CRIU carries as well
};

/// Reads /proc of every process in the container of `init`. A process that exits meanwhile counts nothing. Blocking.
ContainerMemory read_memory(pid_t init);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// Loop devices: a file that looks like a disk.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/unique_fd.h"

namespace vmigrate {

struct LoopStatus {
  dev_t file_device = 0;  ///< with file_inode: which file it is, whatever its path means today
  ino_t file_inode = 0;
  std::uint64_t offset = 0;  ///< where in the file the device begins
  bool is_direct = false;    ///< the driver itself uses O_DIRECT on the file
};

bool is_loop_device(dev_t device);
/// Nothing when no file is attached.
std::optional<LoopStatus> loop_status(int device_fd, const std::filesystem::path& device);
/// Whether `file_fd` is the file attached.
bool is_backed_by(const LoopStatus& status, int file_fd);

struct LoopDevice {
  std::filesystem::path path;
  UniqueFd fd;
};
/// Attaches `image` to a free loop device, read-write. The kernel detaches it by itself when the last user is gone:
/// `fd` is one, a mount another. Throws Error(Errc::busy) when no device can be had.
LoopDevice attach_loop(const std::filesystem::path& image);
/// Detaches `image` if `device` still carries it; nothing happens otherwise. False when it is in use.
bool detach_loop(const std::filesystem::path& device, const std::filesystem::path& image);

}  // namespace vmigrate

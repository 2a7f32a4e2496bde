// SPDX-License-Identifier: GPL-2.0-or-later
// The block device that carries a file system.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace vmigrate {

/// The block device that carries a file system, and what is known about it.
struct MountedDevice {
  std::filesystem::path device;        ///< "/dev/loop3", "/dev/vda2"
  std::filesystem::path mount_point;
  std::string file_system;             ///< "ext4"
  std::filesystem::path image;         ///< a loop device's backing file; empty otherwise
};

/// Finds the block device mounted exactly at `rootfs` in our mount namespace. Throws Error(Errc::rootfs_not_on_device)
/// with the command that converts a plain directory.
MountedDevice find_mounted_device(const std::filesystem::path& rootfs);

/// Discards what the file system does not use (FITRIM), so that it reads as holes. Returns the bytes trimmed; 0 when
/// the file system or device cannot. Blocking.
std::uint64_t trim(const MountedDevice& device);
/// Ends a freeze of the file system (FIFREEZE) that a dead process has left. Nothing happens if it is not frozen, or no
/// longer mounted there. Blocking.
void thaw_file_system(const MountedDevice& device) noexcept;

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// An image file, mounted.
#pragma once

#include <filesystem>
#include <string>

#include "engine/mounted_device.h"

namespace vmigrate {

/// A loop device attached to an image and mounted. Unmounted and detached on destruction unless kept.
class MountedImage {
 public:
  /// Blocking. Throws Error and leaves nothing behind.
  static MountedImage attach(const std::filesystem::path& image, const std::filesystem::path& mount_point,
                             const std::string& file_system);
  /// One that a process attached which is gone.
  static MountedImage adopt(MountedDevice mounted) { return MountedImage(std::move(mounted)); }
  MountedImage(MountedImage&& other) noexcept;
  MountedImage& operator=(MountedImage&&) = delete;
  ~MountedImage();
  const std::filesystem::path& device() const { return mounted_.device; }
  const MountedDevice& mounted() const { return mounted_; }
  void keep() noexcept { mounted_.mount_point.clear(); }

 private:
  explicit MountedImage(MountedDevice mounted) : mounted_(std::move(mounted)) {}
  MountedDevice mounted_;  ///< without mount point once kept or moved from
};

/// Unmounts `mount_point` if that device is what is mounted there, and detaches its loop device. Blocking; retries
/// EBUSY for 5 s. Idempotent.
void unmount_image(const MountedDevice& device);

}  // namespace vmigrate

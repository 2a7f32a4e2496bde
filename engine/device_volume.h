// SPDX-License-Identifier: GPL-2.0-or-later
// A block device, a loop image or a plain file as volume and as sink.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "base/async.h"
#include "engine/volume.h"

namespace vmigrate {

/// The block device that carries a file system, and what is known about it.
struct MountedDevice {
  std::filesystem::path device;        ///< "/dev/loop3", "/dev/vda2"
  std::filesystem::path mount_point;
  std::string file_system;             ///< "ext4"
  std::filesystem::path image;         ///< a loop device's backing file; empty otherwise
};
/// Finds the block device mounted exactly at `rootfs` in our mount namespace. Throws Error(Errc::rootfs_not_on_device) with the
/// command that converts a plain directory.
MountedDevice find_mounted_device(const std::filesystem::path& rootfs);

/// A volume in use. A loop device is read through its backing file, any other device with O_DIRECT (facts/write-tracker.md, section 6 says
/// why never through the device's page cache). `pool` must outlive it.
std::unique_ptr<Volume> open_volume(asio::thread_pool& pool, const MountedDevice& device);
/// A raw file or device that nobody writes, as source.
std::unique_ptr<BlockSource> open_source(asio::thread_pool& pool, const std::filesystem::path& path);

/// Discards what the file system does not use (FITRIM), so that it reads as holes. Returns the bytes trimmed; 0 when
/// the file system or device cannot. Blocking.
std::uint64_t trim(const MountedDevice& device);

/// A new sparse file of geometry.bytes as sink, mode 0600. Throws Error(Errc::already_exists) or no_space: the whole size is not
/// reserved, `bytes_expected` is checked against the free space.
std::unique_ptr<BlockSink> create_image_sink(asio::thread_pool& pool, const std::filesystem::path& path,
                                             VolumeGeometry geometry, std::uint64_t bytes_expected);
/// An existing file or block device as sink; it must be at least geometry.bytes large. It is zeroed first.
std::unique_ptr<BlockSink> open_device_sink(asio::thread_pool& pool, const std::filesystem::path& path,
                                            VolumeGeometry geometry);

/// A loop device attached to an image and mounted. Unmounted and detached on destruction unless kept.
class MountedImage {
 public:
  /// Blocking. Throws Error and leaves nothing behind.
  static MountedImage attach(const std::filesystem::path& image, const std::filesystem::path& mount_point,
                             const std::string& file_system);
  MountedImage(MountedImage&& other) noexcept;
  MountedImage& operator=(MountedImage&&) = delete;
  ~MountedImage();
  const std::filesystem::path& device() const { return device_; }
  void keep() noexcept { mount_point_.clear(); }

 private:
  MountedImage(std::filesystem::path device, std::filesystem::path mount_point);
  std::filesystem::path device_;
  std::filesystem::path mount_point_;   ///< empty once kept or moved from
};
/// Unmounts `mount_point` and detaches its loop device. Blocking; retries EBUSY for 5 s. Idempotent.
void unmount_image(const MountedDevice& device);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/device_volume.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "engine/loop_device.h"
#include "engine/raw_file.h"

namespace vmigrate {
namespace {

UniqueFd open_file(const std::filesystem::path& path, int flags) {
  return UniqueFd(check_syscall(::open(path.c_str(), flags | O_CLOEXEC), "open", path.string()));
}

/// Reads from one file or device on the pool; the common part of both classes below.
void read_each_blocking(const RawFile& file, std::span<const Extent> extents, std::span<std::byte> into) {
  for (const auto& extent : extents) {
    file.read(extent, into.first(extent.bytes()));
    into = into.subspan(extent.bytes());
  }
}

class FileSource final : public BlockSource {
 public:
  FileSource(asio::thread_pool& pool, RawFile file) : pool_(pool), file_(std::move(file)) {}

  VolumeGeometry geometry() const override { return file_.geometry(); }
  std::optional<Extent> next_data(BlockIndex from) override { return file_.next_data(from); }
  Task<> read(Extent extent, std::span<std::byte> into) override {
    co_await offload(pool_, [this, extent, into] { file_.read(extent, into); });
  }
  Task<> read_each(std::span<const Extent> extents, std::span<std::byte> into) override {
    co_await offload(pool_, [this, extents, into] { read_each_blocking(file_, extents, into); });
  }

 private:
  asio::thread_pool& pool_;
  RawFile file_;
};

/// Holds a file system still from construction to destruction.
class HeldFileSystem final : public QuietVolume {
 public:
  HeldFileSystem(UniqueFd root, std::string place) : root_(std::move(root)), place_(std::move(place)) {
    check_syscall(::ioctl(root_.get(), FIFREEZE, 0), "ioctl(FIFREEZE)", place_);
  }
  HeldFileSystem(const HeldFileSystem&) = delete;
  HeldFileSystem& operator=(const HeldFileSystem&) = delete;
  ~HeldFileSystem() override {
    if (::ioctl(root_.get(), FITHAW, 0) == 0) return;
    log(LogLevel::error,
        "event=thaw_failed mount_point=" + place_ + " reason=" + std::generic_category().message(errno));
  }

 private:
  UniqueFd root_;
  std::string place_;
};

class DeviceVolume final : public Volume {
 public:
  struct Files {
    UniqueFd device;  ///< for fsync; never read through
    UniqueFd root;    ///< of the mounted file system
    RawFile blocks;
  };
  DeviceVolume(asio::thread_pool& pool, Files files, std::string place)
      : pool_(pool), files_(std::move(files)), place_(std::move(place)) {}

  VolumeGeometry geometry() const override { return files_.blocks.geometry(); }
  std::optional<Extent> next_data(BlockIndex from) override { return files_.blocks.next_data(from); }
  Task<> read(Extent extent, std::span<std::byte> into) override {
    co_await offload(pool_, [this, extent, into] { files_.blocks.read(extent, into); });
  }
  Task<> read_each(std::span<const Extent> extents, std::span<std::byte> into) override {
    co_await offload(pool_, [this, extents, into] { read_each_blocking(files_.blocks, extents, into); });
  }
  Task<> write_back() override {
    co_await offload(pool_, [this] { check_syscall(::syncfs(files_.root.get()), "syncfs", place_); });
  }
  Task<std::unique_ptr<QuietVolume>> quiesce() override {
    auto held = co_await offload(pool_, [this] { return hold(); });
    co_return held;
  }

 private:
  std::unique_ptr<QuietVolume> hold() const {
    UniqueFd root = duplicate(files_.root.get(), place_);
    auto held = std::make_unique<HeldFileSystem>(std::move(root), place_);
    // Writers that use the device itself, not the file system: what they left in its page cache.
    check_syscall(::fsync(files_.device.get()), "fsync", place_);
    return held;
  }

  asio::thread_pool& pool_;
  Files files_;
  std::string place_;
};

[[noreturn]] void refuse_changed(const MountedDevice& device, const std::string& why) {
  throw Error(Errc::rootfs_not_on_device, device.mount_point.string() + " changed meanwhile: " + why);
}

dev_t device_number_of(int device_fd, const MountedDevice& device) {
  struct stat node {};
  check_syscall(::fstat(device_fd, &node), "fstat", device.device.string());
  if (!S_ISBLK(node.st_mode)) throw Error(Errc::usage, device.device.string() + " is not a block device");
  return node.st_rdev;
}

void check_still_mounted(int root_fd, dev_t number, const MountedDevice& device) {
  struct stat root {};
  check_syscall(::fstat(root_fd, &root), "fstat", device.mount_point.string());
  if (root.st_dev != number) refuse_changed(device, device.device.string() + " is not what is mounted there");
}

/// A file is read the way its loop device reads it. File systems without O_DIRECT are read through the page cache.
RawFile open_backing_file(int device_fd, const MountedDevice& device, VolumeGeometry geometry) {
  const auto status = loop_status(device_fd, device.device);
  if (!status) refuse_changed(device, device.device.string() + " carries no file");
  UniqueFd file;
  if (status->is_direct && status->offset % kBlockBytes == 0)
    file.reset(::open(device.image.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  const auto access = file.is_open() ? RawFile::Access::direct : RawFile::Access::buffered;
  if (!file.is_open()) file = open_file(device.image, O_RDONLY);
  if (!is_backed_by(*status, file.get()))
    refuse_changed(device, device.image.string() + " is not the file that " + device.device.string() + " carries");
  return RawFile(std::move(file), device.image.string(), geometry, status->offset, access);
}

RawFile open_device_blocks(const std::filesystem::path& device, VolumeGeometry geometry) {
  return RawFile(open_file(device, O_RDONLY | O_DIRECT), device.string(), geometry, 0, RawFile::Access::direct);
}

}  // namespace

std::unique_ptr<Volume> open_volume(asio::thread_pool& pool, const MountedDevice& device) {
  auto node = open_file(device.device, O_RDONLY);
  auto root = open_file(device.mount_point, O_RDONLY | O_DIRECTORY);
  const auto number = device_number_of(node.get(), device);
  check_still_mounted(root.get(), number, device);
  const auto geometry = geometry_of(node.get(), device.device.string());
  auto blocks = is_loop_device(number) ? open_backing_file(node.get(), device, geometry)
                                       : open_device_blocks(device.device, geometry);
  return std::make_unique<DeviceVolume>(pool, DeviceVolume::Files{std::move(node), std::move(root), std::move(blocks)},
                                        device.mount_point.string());
}

std::unique_ptr<BlockSource> open_source(asio::thread_pool& pool, const std::filesystem::path& path) {
  auto file = open_file(path, O_RDONLY);
  const auto geometry = geometry_of(file.get(), path.string());
  if (!std::filesystem::is_block_file(path))
    return std::make_unique<FileSource>(
        pool, RawFile(std::move(file), path.string(), geometry, 0, RawFile::Access::buffered));
  return std::make_unique<FileSource>(pool, open_device_blocks(path, geometry));
}

}  // namespace vmigrate

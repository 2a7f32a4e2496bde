// SPDX-License-Identifier: GPL-2.0-or-later
// Block devices for privileged tests: made in the constructor, gone in the destructor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/unique_fd.h"
#include "engine/block.h"
#include "engine/volume.h"

namespace vmigrate {

/// Why privileged tests cannot run here; nothing if they can.
std::optional<std::string> reason_to_skip_root_tests();
/// The same for tests with zram.
bool has_zram();

/// A directory, removed with its content.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(const std::filesystem::path& parent = std::filesystem::temp_directory_path());
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class ScratchDevice {
 public:
  virtual ~ScratchDevice() = default;
  virtual const std::filesystem::path& node() const = 0;
  /// Where its bytes are best read: the file behind a loop device, otherwise the node itself.
  virtual std::filesystem::path file() const = 0;
};

class LoopDevice final : public ScratchDevice {
 public:
  explicit LoopDevice(std::uint64_t bytes,
                      const std::filesystem::path& directory = std::filesystem::temp_directory_path());
  ~LoopDevice() override;
  const std::filesystem::path& node() const override { return node_; }
  std::filesystem::path file() const override { return directory_.path() / "image"; }
  /// Takes the file away and attaches an empty one of the same size: another medium, same device numbers.
  void change_medium();
  /// Adds a partition and returns its node.
  std::filesystem::path add_partition(std::uint64_t first_byte, std::uint64_t bytes);
  /// Another loop device on the same file.
  class Second;

 private:
  void attach(const std::filesystem::path& file);
  void detach();
  std::uint64_t bytes_;
  ScratchDirectory directory_;
  std::filesystem::path node_;
  UniqueFd fd_;
};

class LoopDevice::Second {
 public:
  explicit Second(const LoopDevice& first);
  ~Second();

 private:
  UniqueFd fd_;
};

class ZramDevice final : public ScratchDevice {
 public:
  explicit ZramDevice(std::uint64_t bytes);
  ~ZramDevice() override;
  const std::filesystem::path& node() const override { return node_; }
  std::filesystem::path file() const override { return node_; }

 private:
  int number_;
  std::filesystem::path node_;
};

/// Writes through the node with O_DIRECT: when a call returns, the device has the data.
class DirectWriter {
 public:
  explicit DirectWriter(const std::filesystem::path& node);
  ~DirectWriter();
  /// Content that is different each time.
  void write(Extent extent);
  void discard(Extent extent);
  void write_zeroes(Extent extent);
  void read(Extent extent, std::span<std::byte> into);

 private:
  void ioctl_range(unsigned long request, const char* name, Extent extent);
  UniqueFd fd_;
  void* buffer_;
  unsigned seed_ = 1;
};

/// A scratch device as volume: holes where the file has holes; quiesce() holds the file system if `mount_point` is not
/// empty.
std::unique_ptr<Volume> open_scratch_volume(const ScratchDevice& device, const std::filesystem::path& mount_point);

}  // namespace vmigrate

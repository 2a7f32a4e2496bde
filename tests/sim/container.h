// SPDX-License-Identifier: GPL-2.0-or-later
// The container of a simulation: a program that writes and acknowledges, its processes, and its disk.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "tests/support/memory_volume.h"

namespace vmigrate::sim {

inline constexpr std::uint64_t kBlocks = 6;
using Values = std::array<std::uint32_t, kBlocks>;

/// What the program has in memory. Its values only grow, over all blocks and all its life.
struct App {
  std::uint32_t steps = 0;   ///< changes with every write: two memories are equal if it is
  Values values{};           ///< what it wrote last to each block
};

/// Its processes on one host. They are the kernel's: no agent's death ends them.
struct Tree {
  App app;
  bool is_frozen = false;
};

/// The root file system's image on one host, and what of it would survive a power cut.
class Image {
 public:
  Image() : volume_(kBlocks * kBlockBytes), durable_(kBlocks * kBlockBytes) {}
  /// As it comes back after a power cut.
  explicit Image(const std::vector<std::byte>& durable) : Image() {
    volume_.write_bytes({{0}, kBlocks}, durable);
    durable_ = durable;
  }

  MemoryVolume& volume() { return volume_; }
  const std::vector<std::byte>& durable() const { return durable_; }
  void sync() { durable_.assign(volume_.content().begin(), volume_.content().end()); }
  /// Written and synced, as before an acknowledgement.
  void write_through(std::uint64_t block, std::uint32_t value) {
    std::array<std::byte, kBlockBytes> bytes{};
    std::memcpy(bytes.data(), &value, sizeof value);
    volume_.write_bytes({{block}, 1}, bytes);
    std::memcpy(durable_.data() + block * kBlockBytes, bytes.data(), sizeof value);
  }
  Values values() const { return values_in(volume_.content()); }

 private:
  /// MemoryVolume begins each block with the number that was written.
  static Values values_in(std::span<const std::byte> content) {
    Values values{};
    for (std::uint64_t block = 0; block < kBlocks; ++block)
      std::memcpy(&values[block], content.data() + block * kBlockBytes, sizeof values[block]);
    return values;
  }

  MemoryVolume volume_;
  std::vector<std::byte> durable_;
};

/// The image as the place where blocks arrive.
class ImageBlockSink final : public BlockSink {
 public:
  explicit ImageBlockSink(std::shared_ptr<Image> image) : image_(std::move(image)) {}
  Task<> write(Extent extent, std::span<const std::byte> blocks) override {
    image_->volume().write_bytes(extent, blocks);
    co_return;
  }
  Task<> write_zeroes(Extent extent) override {
    image_->volume().write_zeroes(extent);
    co_return;
  }
  Task<> flush() override {
    image_->sync();
    co_return;
  }

 private:
  std::shared_ptr<Image> image_;
};

}  // namespace vmigrate::sim

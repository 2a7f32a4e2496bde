// SPDX-License-Identifier: GPL-2.0-or-later
// A volume and a sink in memory, with the damage that tests ask for.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/assert.h"
#include "base/error.h"
#include "engine/volume.h"

namespace vmigrate {

/// A volume whose writer is the test. Blocks never written, or discarded, are holes.
class MemoryVolume final : public Volume {
 public:
  /// Is told of every write and discard once it has been carried out.
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void wrote(Extent extent) = 0;
  };

  explicit MemoryVolume(std::uint64_t bytes)
      : geometry_{bytes}, content_(geometry_.block_count() * kBlockBytes), is_data_(geometry_.block_count()) {}

  void attach(Observer& observer) { observers_.push_back(&observer); }
  void detach(Observer& observer) { std::erase(observers_, &observer); }

  /// Fills the extent with bytes that depend on `seed` and the place; each block begins with `seed` itself. A partial
  /// last block is padded with zeroes.
  void write(Extent extent, unsigned seed) {
    MIGRATE_ASSERT(quiet_holders_ == 0);
    for (auto at = extent.first.value * kBlockBytes; at < std::min(extent.end().value * kBlockBytes, geometry_.bytes);
         ++at)
      content_[at] = static_cast<std::byte>((at * 31 + (at >> 12) * 7 + seed * 131 + 1) & 0xff);
    for (auto index = extent.first; index < extent.end(); ++index.value) {
      std::memcpy(content_.data() + index.value * kBlockBytes, &seed, sizeof seed);
      page_cache_.erase(index);
    }
    finish_write(extent, true);
  }
  void write(BlockIndex block, unsigned seed) { write(Extent{block, 1}, seed); }
  /// Given bytes instead of made-up ones.
  void write_bytes(Extent extent, std::span<const std::byte> blocks) {
    MIGRATE_ASSERT(quiet_holders_ == 0 && blocks.size() == extent.bytes());
    const auto begin = extent.first.value * kBlockBytes;
    std::memcpy(content_.data() + begin, blocks.data(), std::min(blocks.size(), geometry_.bytes - begin));
    for (auto index = extent.first; index < extent.end(); ++index.value) page_cache_.erase(index);
    finish_write(extent, true);
  }
  /// Zeroes that are written, not holes.
  void write_zeroes(Extent extent) { clear(extent, true); }
  void discard(Extent extent) { clear(extent, false); }
  /// A write that stays in the page cache until write_back() or quiesce().
  void write_later(BlockIndex block, unsigned seed) { page_cache_[block] = seed; }

  /// From now on reading `block` fails with `failure`; 0 heals it.
  void fail_reads_of(BlockIndex block, int failure = EIO) { read_failures_[block] = failure; }
  void fail_write_back(int failure = EIO) { write_back_failure_ = failure; }
  /// Called at the start of every read, before the bytes are taken: a writer that races the reader.
  void before_read(std::function<void(Extent)> hook) { before_read_ = std::move(hook); }
  /// The same, after the bytes were taken.
  void after_read(std::function<void(Extent)> hook) { after_read_ = std::move(hook); }

  std::span<const std::byte> content() const { return {content_.data(), geometry_.bytes}; }
  std::span<const std::byte> block(BlockIndex index) const {
    return std::span(content_).subspan(index.value * kBlockBytes, kBlockBytes);
  }
  const std::vector<Extent>& reads() const { return reads_; }
  void forget_reads() { reads_.clear(); }
  int write_backs() const { return write_backs_; }
  bool is_quiet() const { return quiet_holders_ > 0; }

  VolumeGeometry geometry() const override { return geometry_; }
  Task<> read(Extent extent, std::span<std::byte> into) override {
    MIGRATE_ASSERT(extent.count >= 1 && extent.count <= kExtentBlocksMax && into.size() == extent.bytes());
    MIGRATE_ASSERT(extent.end().value <= geometry_.block_count());
    if (before_read_) before_read_(extent);
    for (auto index = extent.first; index < extent.end(); ++index.value) throw_if_damaged(index);
    std::memcpy(into.data(), content_.data() + extent.first.value * kBlockBytes, into.size());
    reads_.push_back(extent);
    if (after_read_) after_read_(extent);
    co_return;
  }
  std::optional<Extent> next_data(BlockIndex from) override {
    auto first = from.value;
    while (first < is_data_.size() && !is_data_[first]) ++first;
    if (first >= is_data_.size()) return std::nullopt;
    auto end = first;
    while (end < is_data_.size() && is_data_[end]) ++end;
    return Extent{{first}, end - first};
  }
  Task<> write_back() override {
    ++write_backs_;
    if (write_back_failure_ != 0) throw Error(write_back_failure_, "write_back", "memory volume");
    land_page_cache();
    co_return;
  }
  Task<std::unique_ptr<QuietVolume>> quiesce() override {
    land_page_cache();
    co_return std::make_unique<Quiet>(*this);
  }

 private:
  class Quiet final : public QuietVolume {
   public:
    explicit Quiet(MemoryVolume& volume) : volume_(volume) { ++volume_.quiet_holders_; }
    Quiet(const Quiet&) = delete;
    Quiet& operator=(const Quiet&) = delete;
    ~Quiet() override { --volume_.quiet_holders_; }

   private:
    MemoryVolume& volume_;
  };

  void clear(Extent extent, bool is_data) {
    MIGRATE_ASSERT(quiet_holders_ == 0);
    std::fill_n(content_.begin() + static_cast<std::ptrdiff_t>(extent.first.value * kBlockBytes), extent.bytes(),
                std::byte{0});
    finish_write(extent, is_data);
  }
  void finish_write(Extent extent, bool is_data) {
    for (auto index = extent.first; index < extent.end(); ++index.value) is_data_.at(index.value) = is_data;
    for (auto* observer : observers_) observer->wrote(extent);
  }
  void land_page_cache() {
    const auto pages = std::exchange(page_cache_, {});
    for (const auto& [block, seed] : pages) write(block, seed);
  }
  void throw_if_damaged(BlockIndex index) const {
    const auto damage = read_failures_.find(index);
    if (damage != read_failures_.end() && damage->second != 0) throw Error(damage->second, "read", "memory volume");
  }

  VolumeGeometry geometry_;
  std::vector<std::byte> content_;
  std::vector<bool> is_data_;
  std::map<BlockIndex, unsigned> page_cache_;
  std::map<BlockIndex, int> read_failures_;
  int write_back_failure_ = 0;
  int write_backs_ = 0;
  int quiet_holders_ = 0;
  std::function<void(Extent)> before_read_;
  std::function<void(Extent)> after_read_;
  std::vector<Observer*> observers_;
  std::vector<Extent> reads_;
};

/// What was handed on, and in which pieces. Starts as zeroes.
class MemorySink final : public BlockSink {
 public:
  explicit MemorySink(VolumeGeometry geometry) : geometry_(geometry), content_(geometry.block_count() * kBlockBytes) {}

  /// The n-th write or write_zeroes from now on (1 is the next) fails once.
  void fail_write_after(int operations, int failure = EIO) {
    operations_until_failure_ = operations;
    failure_ = failure;
  }
  void fail_flush(int failure = EIO) { flush_failure_ = failure; }
  /// Called at the start of every write.
  void before_write(std::function<void(Extent)> hook) { before_write_ = std::move(hook); }

  /// What it starts with, instead of zeroes.
  void hold(std::span<const std::byte> content) { std::ranges::copy(content, content_.begin()); }
  std::span<const std::byte> content() const { return {content_.data(), geometry_.bytes}; }
  const std::vector<Extent>& writes() const { return writes_; }
  const std::vector<Extent>& zeroes() const { return zeroes_; }
  int flushes() const { return flushes_; }
  void forget_writes() {
    writes_.clear();
    zeroes_.clear();
  }
  std::uint64_t blocks_written() const { return total(writes_); }
  std::uint64_t blocks_zeroed() const { return total(zeroes_); }

  Task<> write(Extent extent, std::span<const std::byte> blocks) override {
    MIGRATE_ASSERT(extent.count >= 1 && extent.count <= kExtentBlocksMax && blocks.size() == extent.bytes());
    begin(extent);
    std::memcpy(content_.data() + extent.first.value * kBlockBytes, blocks.data(), blocks.size());
    writes_.push_back(extent);
    co_return;
  }
  Task<> write_zeroes(Extent extent) override {
    MIGRATE_ASSERT(extent.count >= 1);
    begin(extent);
    std::fill_n(content_.begin() + static_cast<std::ptrdiff_t>(extent.first.value * kBlockBytes), extent.bytes(),
                std::byte{0});
    zeroes_.push_back(extent);
    co_return;
  }
  Task<> flush() override {
    ++flushes_;
    if (flush_failure_ != 0) throw Error(std::exchange(flush_failure_, 0), "flush", "memory sink");
    co_return;
  }

 private:
  void begin(Extent extent) {
    MIGRATE_ASSERT(extent.end().value <= geometry_.block_count());
    if (before_write_) before_write_(extent);
    if (operations_until_failure_ > 0 && --operations_until_failure_ == 0)
      throw Error(failure_, "write", "memory sink");
  }
  static std::uint64_t total(const std::vector<Extent>& extents) {
    std::uint64_t blocks = 0;
    for (const auto& extent : extents) blocks += extent.count;
    return blocks;
  }

  VolumeGeometry geometry_;
  std::vector<std::byte> content_;
  int operations_until_failure_ = 0;
  int failure_ = 0;
  int flush_failure_ = 0;
  int flushes_ = 0;
  std::function<void(Extent)> before_write_;
  std::vector<Extent> writes_;
  std::vector<Extent> zeroes_;
};

}  // namespace vmigrate

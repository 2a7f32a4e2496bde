// SPDX-License-Identifier: GPL-2.0-or-later
// A set of blocks: one bit per block, in chunks that exist only where something is set.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/block.h"

namespace vmigrate {

/// Which blocks have to be copied. Memory is bounded whatever the volume's size: a chunk of 32768 blocks (128 MiB of
/// volume, 4 KiB of bits) is allocated when its first block is added; a chunk with every block set needs no bits; and
/// when `bytes_max` is reached, a further chunk is taken whole. That copies more than was written, never less.
class DirtySet {
 public:
  static constexpr std::uint64_t kChunkBlocks = 32768;
  static constexpr std::size_t kDefaultBytesMax = std::size_t{8} << 20;

  explicit DirtySet(std::uint64_t block_count, std::size_t bytes_max = kDefaultBytesMax);
  DirtySet(DirtySet&&) noexcept = default;
  DirtySet& operator=(DirtySet&&) noexcept = default;

  /// Adds [extent.first, extent.end()), clipped to the volume.
  void add(Extent extent);
  /// Adds 64 blocks starting at `first` (a multiple of 64) from a bitmap word, least significant bit first.
  void add_word(BlockIndex first, std::uint64_t word);
  void add_all();
  /// Adds every block of `other`, a set for the same volume.
  void add(const DirtySet& other);
  /// Takes the extent out. At the bound, part of a chunk that was taken whole may stay in.
  void remove(Extent extent);
  /// Takes out every block of `other`.
  void remove_all_of(const DirtySet& other);
  void clear();

  bool contains(BlockIndex block) const;
  bool empty() const { return count_ == 0; }
  /// The number of blocks in the set.
  std::uint64_t count() const { return count_; }
  std::uint64_t block_count() const { return block_count_; }
  /// The first run of set blocks at or after `from`, at most `count_max` long.
  std::optional<Extent> next_run(BlockIndex from, std::uint64_t count_max = UINT64_MAX) const;
  /// What both sets hold, in a set of its own, with the bound of this one: it holds nothing that this one does not.
  DirtySet common_with(const DirtySet& other) const;

 private:
  static constexpr std::uint64_t kChunkWords = kChunkBlocks / 64;
  struct Chunk {
    std::unique_ptr<std::uint64_t[]> words;  ///< kChunkWords of them, or none when `count` is 0 or all
    std::uint32_t count = 0;
  };

  std::uint64_t blocks_of(std::size_t chunk) const;
  std::uint64_t clipped_end(Extent extent) const;
  std::uint64_t word_at(std::uint64_t word_index) const;
  bool give_words(std::size_t chunk);
  void take_whole(std::size_t chunk);
  void add_mask(std::uint64_t word_index, std::uint64_t mask);
  void remove_mask(std::uint64_t word_index, std::uint64_t mask);
  void settle(std::size_t chunk);
  void drop_words(std::size_t chunk);
  std::uint64_t find(std::uint64_t from, std::uint64_t end, bool is_set) const;

  std::uint64_t block_count_;
  std::size_t chunks_with_words_max_;
  std::size_t chunks_with_words_ = 0;
  std::uint64_t count_ = 0;
  std::vector<Chunk> chunks_;
};

}  // namespace vmigrate

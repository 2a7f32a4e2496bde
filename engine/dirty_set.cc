// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/dirty_set.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace vmigrate {
namespace {

/// The bits of word `word_index` that lie in [from, end); the word holds at least one of them.
std::uint64_t mask_within(std::uint64_t word_index, std::uint64_t from, std::uint64_t end) {
  const auto low = std::max(from, word_index * 64) - word_index * 64;
  const auto high = std::min(end - word_index * 64, std::uint64_t{64});
  return (~std::uint64_t{0} << low) & (~std::uint64_t{0} >> (64 - high));
}

}  // namespace

DirtySet::DirtySet(std::uint64_t block_count, std::size_t bytes_max)
    : block_count_(block_count),
      chunks_with_words_max_(bytes_max / (kChunkWords * sizeof(std::uint64_t))),
      chunks_((block_count + kChunkBlocks - 1) / kChunkBlocks) {}

void DirtySet::add(Extent extent) {
  const auto end = clipped_end(extent);
  for (auto at = extent.first.value; at < end;) {
    const auto chunk = at / kChunkBlocks;
    const auto stop = std::min(end, (chunk + 1) * kChunkBlocks);
    if (stop - at == blocks_of(chunk)) {
      take_whole(chunk);
    } else {
      for (auto word = at / 64; word * 64 < stop; ++word) add_mask(word, mask_within(word, at, stop));
    }
    at = stop;
  }
}

void DirtySet::add_word(BlockIndex first, std::uint64_t word) {
  MIGRATE_ASSERT(first.value % 64 == 0);
  if (word == 0 || first.value >= block_count_) return;
  add_mask(first.value / 64, word & mask_within(first.value / 64, first.value, block_count_));
}

void DirtySet::add_all() {
  for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) take_whole(chunk);
}

void DirtySet::add(const DirtySet& other) {
  MIGRATE_ASSERT(block_count_ == other.block_count_);
  for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
    const auto& theirs = other.chunks_[chunk];
    if (theirs.count == 0) continue;
    if (!theirs.words) {
      take_whole(chunk);
      continue;
    }
    for (std::uint64_t word = 0; word < kChunkWords; ++word)
      if (theirs.words[word] != 0) add_mask(chunk * kChunkWords + word, theirs.words[word]);
  }
}

void DirtySet::remove(Extent extent) {
  const auto end = clipped_end(extent);
  for (auto at = extent.first.value; at < end;) {
    const auto chunk = at / kChunkBlocks;
    const auto stop = std::min(end, (chunk + 1) * kChunkBlocks);
    if (stop - at == blocks_of(chunk)) {
      count_ -= chunks_[chunk].count;
      chunks_[chunk].count = 0;
      drop_words(chunk);
    } else {
      for (auto word = at / 64; word * 64 < stop; ++word) remove_mask(word, mask_within(word, at, stop));
    }
    at = stop;
  }
}

void DirtySet::remove_all_of(const DirtySet& other) {
  MIGRATE_ASSERT(block_count_ == other.block_count_);
  for (auto run = other.next_run({0}); run && !empty(); run = other.next_run(run->end())) remove(*run);
}

DirtySet DirtySet::common_with(const DirtySet& other) const {
  MIGRATE_ASSERT(block_count_ == other.block_count_);
  DirtySet common(block_count_, chunks_with_words_max_ * kChunkWords * sizeof(std::uint64_t));
  BlockIndex at{0};
  while (const auto ours = next_run(at)) {
    const auto theirs = other.next_run(ours->first, ours->count);
    if (!theirs) break;
    const auto end = std::min(ours->end(), theirs->end());
    if (theirs->first < end) common.add(Extent{theirs->first, end.value - theirs->first.value});
    at = std::max(end, theirs->first);
  }
  return common;
}

void DirtySet::clear() {
  for (auto& chunk : chunks_) chunk = Chunk{};
  chunks_with_words_ = 0;
  count_ = 0;
}

bool DirtySet::contains(BlockIndex block) const {
  return block.value < block_count_ && (word_at(block.value / 64) >> (block.value % 64) & 1) != 0;
}

std::optional<Extent> DirtySet::next_run(BlockIndex from, std::uint64_t count_max) const {
  const auto first = find(from.value, block_count_, true);
  if (first >= block_count_) return std::nullopt;
  const auto limit = count_max > block_count_ - first ? block_count_ : first + count_max;
  return Extent{{first}, find(first, limit, false) - first};
}

std::uint64_t DirtySet::blocks_of(std::size_t chunk) const {
  return std::min(kChunkBlocks, block_count_ - chunk * kChunkBlocks);
}

std::uint64_t DirtySet::clipped_end(Extent extent) const {
  if (extent.first.value >= block_count_) return extent.first.value;
  return extent.first.value + std::min(extent.count, block_count_ - extent.first.value);
}

/// The bits of one word; those past the end of the volume are meaningless.
std::uint64_t DirtySet::word_at(std::uint64_t word_index) const {
  const auto& chunk = chunks_[word_index / kChunkWords];
  if (chunk.words) return chunk.words[word_index % kChunkWords];
  return chunk.count == 0 ? 0 : ~std::uint64_t{0};
}

/// Makes room for single bits in a chunk that is empty or whole. False at the bound.
bool DirtySet::give_words(std::size_t index) {
  auto& chunk = chunks_[index];
  if (chunk.words) return true;
  if (chunks_with_words_ == chunks_with_words_max_) return false;
  chunk.words = std::make_unique<std::uint64_t[]>(kChunkWords);
  ++chunks_with_words_;
  if (chunk.count == 0) return true;
  const auto first_word = index * kChunkWords;
  const auto end = index * kChunkBlocks + blocks_of(index);
  for (auto word = first_word; word * 64 < end; ++word)
    chunk.words[word - first_word] = mask_within(word, first_word * 64, end);
  return true;
}

void DirtySet::take_whole(std::size_t chunk) {
  count_ += blocks_of(chunk) - chunks_[chunk].count;
  chunks_[chunk].count = static_cast<std::uint32_t>(blocks_of(chunk));
  drop_words(chunk);
}

void DirtySet::add_mask(std::uint64_t word_index, std::uint64_t mask) {
  const auto index = word_index / kChunkWords;
  auto& chunk = chunks_[index];
  if (chunk.count == blocks_of(index)) return;
  if (!give_words(index)) return take_whole(index);
  auto& word = chunk.words[word_index % kChunkWords];
  const auto added = static_cast<std::uint32_t>(std::popcount(mask & ~word));
  word |= mask;
  chunk.count += added;
  count_ += added;
  settle(index);
}

void DirtySet::remove_mask(std::uint64_t word_index, std::uint64_t mask) {
  const auto index = word_index / kChunkWords;
  auto& chunk = chunks_[index];
  if (chunk.count == 0 || !give_words(index)) return;
  auto& word = chunk.words[word_index % kChunkWords];
  const auto removed = static_cast<std::uint32_t>(std::popcount(mask & word));
  word &= ~mask;
  chunk.count -= removed;
  count_ -= removed;
  settle(index);
}

/// A chunk that became empty or whole needs no bits.
void DirtySet::settle(std::size_t chunk) {
  if (chunks_[chunk].count == 0 || chunks_[chunk].count == blocks_of(chunk)) drop_words(chunk);
}

void DirtySet::drop_words(std::size_t chunk) {
  if (!chunks_[chunk].words) return;
  chunks_[chunk].words.reset();
  --chunks_with_words_;
}

/// The first block in [from, end) that is set or not, as asked; `end` if there is none.
std::uint64_t DirtySet::find(std::uint64_t from, std::uint64_t end, bool is_set) const {
  for (auto at = from; at < end;) {
    const auto index = at / kChunkBlocks;
    const auto& chunk = chunks_[index];
    if (!chunk.words && (chunk.count != 0) != is_set) {
      at = (index + 1) * kChunkBlocks;
      continue;
    }
    const auto word = is_set ? word_at(at / 64) : ~word_at(at / 64);
    const auto rest = word >> (at % 64);
    if (rest != 0) return std::min(end, at + static_cast<std::uint64_t>(std::countr_zero(rest)));
    at = (at / 64 + 1) * 64;
  }
  return end;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/copy_batch.h"

#include <algorithm>
#include <new>

#include "base/assert.h"

namespace vmigrate {
namespace {

constexpr std::size_t kExtentsMax = kExtentBlocksMax;            // bounds a batch of nothing but holes
constexpr Bits128 kDoubt{~std::uint64_t{0}, ~std::uint64_t{0}};  // the digest of no content that will ever be met

}  // namespace

CopyBatch::CopyBatch()
    : bytes_(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kExtentBlocksMax * kBlockBytes))),
      before_(kExtentBlocksMax),
      now_(kExtentBlocksMax) {
  if (!bytes_) throw std::bad_alloc();
}

void CopyBatch::clear() {
  extents_.clear();
  holes_.clear();
  pieces_.clear();
  block_count_ = data_blocks_ = zero_blocks_ = 0;
}

std::uint64_t CopyBatch::room() const {
  return extents_.size() + holes_.size() < kExtentsMax ? kExtentBlocksMax - block_count_ : 0;
}

void CopyBatch::add_data(Extent extent) {
  MIGRATE_ASSERT(extent.count > 0 && extent.count <= room());
  extents_.push_back(extent);
  block_count_ += extent.count;
}

void CopyBatch::add_hole(Extent extent) {
  MIGRATE_ASSERT(extent.count > 0);
  holes_.push_back(extent);
}

void CopyBatch::examine(const DigestIndex& digests) {
  std::size_t slot = 0;
  for (const auto& extent : extents_) {
    examine_data(extent, slot, digests);
    slot += extent.count;
  }
  for (const auto& hole : holes_) examine_hole(hole, digests);
}

void CopyBatch::examine_data(Extent extent, std::size_t first_slot, const DigestIndex& digests) {
  digests.recorded(extent, std::span(before_).subspan(first_slot, extent.count));
  for (std::uint64_t i = 0; i < extent.count; ++i) {
    const auto slot = first_slot + i;
    const BlockIndex index{extent.first.value + i};
    now_[slot] = DigestIndex::digest_of(index, {bytes_.get() + slot * kBlockBytes, kBlockBytes});
    const bool is_zeroes = now_[slot] == Bits128{};
    const bool is_changed = now_[slot] != before_[slot];
    zero_blocks_ += is_zeroes;
    data_blocks_ += is_changed && !is_zeroes;
    const auto kind = !is_changed ? CopyPiece::Kind::unchanged
                      : is_zeroes ? CopyPiece::Kind::zeroes
                                  : CopyPiece::Kind::data;
    append({kind, {index, 1}, slot * kBlockBytes});
  }
}

void CopyBatch::examine_hole(Extent hole, const DigestIndex& digests) {
  zero_blocks_ += hole.count;
  auto rest = hole;
  while (const auto run = digests.next_nonzero(rest)) {
    append({CopyPiece::Kind::zeroes, *run});
    rest = {run->end(), hole.end().value - run->end().value};
  }
}

void CopyBatch::append(CopyPiece piece) {
  if (!pieces_.empty() && pieces_.back().kind == piece.kind && pieces_.back().extent.end() == piece.extent.first &&
      (piece.kind != CopyPiece::Kind::data || pieces_.back().extent.count < kExtentBlocksMax)) {
    pieces_.back().extent.count += piece.extent.count;
  } else {
    pieces_.push_back(piece);
  }
}

void CopyBatch::record_in(DigestIndex& digests) const {
  std::size_t slot = 0;
  for (const auto& extent : extents_) {
    digests.record(extent, std::span(now_).subspan(slot, extent.count));
    slot += extent.count;
  }
  for (const auto& hole : holes_) digests.update_zeroes(hole);
}

void CopyBatch::record_doubt_in(DigestIndex& digests) const {
  const std::vector<Bits128> doubts(kExtentBlocksMax, kDoubt);
  for (const auto& piece : pieces_) {
    if (piece.kind == CopyPiece::Kind::unchanged) continue;
    for (auto at = piece.extent.first; at < piece.extent.end(); at.value += kExtentBlocksMax) {
      const auto count = std::min(kExtentBlocksMax, piece.extent.end().value - at.value);
      digests.record({at, count}, std::span(doubts).first(count));
    }
  }
}

namespace {

Task<> hand_on(const CopyBatch& batch, const CopyPiece& piece, BlockSink& to) {
  switch (piece.kind) {
    case CopyPiece::Kind::unchanged:
      break;
    case CopyPiece::Kind::zeroes:
      co_await to.write_zeroes(piece.extent);
      break;
    case CopyPiece::Kind::data:
      co_await to.write(piece.extent, batch.bytes_of(piece));
      break;
  }
}

}  // namespace

Task<> hand_on(const CopyBatch& batch, BlockSink& to) {
  for (const auto& piece : batch.pieces()) co_await hand_on(batch, piece, to);
}

}  // namespace vmigrate

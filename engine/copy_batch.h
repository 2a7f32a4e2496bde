// SPDX-License-Identifier: GPL-2.0-or-later
// Up to 1 MiB of blocks on their way from a volume to a sink.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "engine/block_io.h"
#include "engine/digest_index.h"

namespace vmigrate {

/// Neighbouring blocks that are handed on in one call.
struct CopyPiece {
  enum class Kind { unchanged, zeroes, data };
  Kind kind;
  Extent extent;
  std::size_t offset = 0;  ///< of its bytes in the batch; data only
};

/// Extents to be copied, their bytes, and what is to be done with them. Reused from round trip to round trip.
class CopyBatch {
 public:
  CopyBatch();

  void clear();
  /// How many more blocks of data fit; 0 also when there are too many extents already.
  std::uint64_t room() const;
  bool empty() const { return extents_.empty() && holes_.empty(); }
  /// Blocks to be read, at most room() of them.
  void add_data(Extent extent);
  /// Blocks known to read as zeroes, any number of them.
  void add_hole(Extent extent);

  /// What has to be read, and where its bytes belong.
  std::span<const Extent> extents() const { return extents_; }
  std::span<std::byte> bytes() { return {bytes_.get(), block_count_ * kBlockBytes}; }

  /// Decides what to hand on, by comparison with what `digests` recorded. Blocking; call when bytes() are filled.
  void examine(const DigestIndex& digests);
  std::span<const CopyPiece> pieces() const { return pieces_; }
  std::span<const std::byte> bytes_of(const CopyPiece& piece) const {
    return {bytes_.get() + piece.offset, piece.extent.bytes()};
  }
  /// Records that every piece was handed on. Blocking.
  void record_in(DigestIndex& digests) const;
  /// Records that nobody knows what the sink holds in these blocks, since handing them on failed half-way: whatever
  /// they hold next time, they are handed on again. Blocking.
  void record_doubt_in(DigestIndex& digests) const;

  std::uint64_t data_bytes() const { return data_blocks_ * kBlockBytes; }
  /// Of blocks that are zeroes now, whether they have to be handed on or not.
  std::uint64_t zero_bytes() const { return zero_blocks_ * kBlockBytes; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };

  void examine_data(Extent extent, std::size_t first_slot, const DigestIndex& digests);
  void examine_hole(Extent hole, const DigestIndex& digests);
  void append(CopyPiece piece);

  std::unique_ptr<std::byte[], Free> bytes_;  ///< page-aligned, for O_DIRECT
  std::vector<Extent> extents_;
  std::vector<Extent> holes_;
  std::uint64_t block_count_ = 0;
  std::vector<Bits128> before_;
  std::vector<Bits128> now_;
  std::vector<CopyPiece> pieces_;
  std::uint64_t data_blocks_ = 0;
  std::uint64_t zero_blocks_ = 0;
};

/// Hands on what is to be handed on, in order. Whoever calls records it, or the doubt about it when this throws.
Task<> hand_on(const CopyBatch& batch, BlockSink& to);

}  // namespace vmigrate

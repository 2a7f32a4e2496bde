// SPDX-License-Identifier: GPL-2.0-or-later
// Writes received blocks while the next ones arrive.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/async.h"
#include "engine/block_io.h"
#include "engine/digest_index.h"

namespace vmigrate {

/// The blocks a peer speaks of. Throws Error(Errc::protocol_violation) unless they are within the volume.
Extent checked_extent(VolumeGeometry geometry, std::uint64_t first, std::uint64_t count, const std::string& peer);

/// Writes extents one after the other, in the order given (a final round may send a block twice), at most four extents
/// behind the caller. Digests what it writes. settle() must have returned or thrown before the sink goes away.
class BlockWriter {
 public:
  BlockWriter(asio::any_io_executor executor, asio::thread_pool& pool, BlockSink& sink, DigestIndex& digests);
  ~BlockWriter();

  /// Copies `blocks` and returns as soon as there is room. Throws the failure of an earlier write.
  Task<> write(Extent extent, std::span<const std::byte> blocks);
  Task<> write_zeroes(Extent extent);
  /// Returns when everything given so far is written; throws the first failure.
  Task<> settle();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/tracker/rescan_tracker.h"

#include <algorithm>
#include <vector>

namespace vmigrate {
namespace {

Extent between(BlockIndex first, BlockIndex end) { return {first, end.value - first.value}; }

/// Adds the blocks of `extent` whose content is not the recorded one.
void add_changed(DirtySet& out, const DigestIndex& digests, Extent extent, std::span<const std::byte> blocks) {
  std::vector<Bits128> recorded(extent.count);
  digests.recorded(extent, recorded);
  for (std::uint64_t i = 0; i < extent.count; ++i) {
    const BlockIndex block{extent.first.value + i};
    if (DigestIndex::digest_of(block, blocks.subspan(i * kBlockBytes, kBlockBytes)) != recorded[i])
      out.add(Extent{block, 1});
  }
}

}  // namespace

RescanTracker::RescanTracker(asio::thread_pool& pool, Volume& volume, const DigestIndex& digests)
    : pool_(pool), volume_(volume), digests_(digests) {}

Task<> RescanTracker::drain_into(DirtySet& out) {
  const BlockIndex end{geometry().block_count()};
  BlockIndex at;
  while (at < end) {
    const auto data = volume_.next_data(at).value_or(Extent{end, 0});
    if (at < data.first) co_await add_vanished_data(out, between(at, data.first));
    if (data.count > 0) co_await compare_data(out, data);
    at = data.end();
  }
}

/// A quiet volume changes nothing here: what is read is what is there.
Task<> RescanTracker::drain_rest_into(DirtySet& out, const QuietVolume&) { co_await drain_into(out); }

Task<> RescanTracker::compare_data(DirtySet& out, Extent extent) {
  std::vector<std::byte> blocks;
  for (BlockIndex at = extent.first; at < extent.end();) {
    const Extent piece{at, std::min(extent.end().value - at.value, kExtentBlocksMax)};
    blocks.resize(piece.bytes());
    co_await volume_.read(piece, blocks);
    co_await offload(pool_, [&] { add_changed(out, digests_, piece, blocks); });
    at = piece.end();
  }
}

/// Blocks that read as zeroes now are dirty if they were recorded as something else.
Task<> RescanTracker::add_vanished_data(DirtySet& out, Extent hole) {
  co_await offload(pool_, [&] {
    Extent rest = hole;
    while (rest.count > 0) {
      const auto run = digests_.next_nonzero(rest);
      if (!run) return;
      out.add(*run);
      rest = between(run->end(), hole.end());
    }
  });
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// Where blocks come from and where they go.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "base/async.h"
#include "engine/block.h"

namespace vmigrate {

/// The largest extent that one read() or write() is asked for: 1 MiB.
inline constexpr std::uint64_t kExtentBlocksMax = 256;

/// Blocks that can be read. Contract: tests/contract/block_io_contract.h.
class BlockSource {
 public:
  virtual ~BlockSource() = default;
  virtual VolumeGeometry geometry() const = 0;
  /// Fills `into`, which is extent.bytes() long and must stay valid until the task ends; 1 <= extent.count <=
  /// kExtentBlocksMax. What it returns was on the volume at some moment between call and end. Throws Error on a device
  /// error or a short read: a block that cannot be read is never returned as zeroes.
  virtual Task<> read(Extent extent, std::span<std::byte> into) = 0;
  /// read() for several extents, one after the other in `into`; together at most kExtentBlocksMax blocks. `extents`
  /// must stay valid too. A source on a device answers them in one trip to its pool: scattered blocks are the usual
  /// case.
  virtual Task<> read_each(std::span<const Extent> extents, std::span<std::byte> into);
  /// The first run of blocks at or after `from` that may hold data, clipped to the volume; nothing when only holes
  /// (which read as zeroes) are left. A source that knows no holes returns everything from `from` on.
  virtual std::optional<Extent> next_data(BlockIndex from) = 0;
};

/// What keeps order among writes, and makes them last.
class WriteBarrier {
 public:
  virtual ~WriteBarrier() = default;
  /// Every earlier write is carried out before any later one, which may be to the same blocks. What keeps its order
  /// needs nothing for that.
  virtual Task<> settle() { co_return; }
  /// Every earlier write has been carried out and would survive a power cut.
  virtual Task<> flush() = 0;
};

/// Where blocks go: a device or file on the destination, a connection on the source.
class BlockSink : public WriteBarrier {
 public:
  /// Throws when nothing can be written any more, for those who have not had anything to write for a while.
  virtual void check() const {}
  /// Writes extent.bytes() bytes. `blocks` must stay valid until the task ends. 1 <= extent.count <= kExtentBlocksMax.
  virtual Task<> write(Extent extent, std::span<const std::byte> blocks) = 0;
  /// Makes the extent, of any length, read as zeroes afterwards.
  virtual Task<> write_zeroes(Extent extent) = 0;
};

}  // namespace vmigrate

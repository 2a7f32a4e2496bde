// SPDX-License-Identifier: GPL-2.0-or-later
// What a copy holds, block by block, and one digest for all of it.
#pragma once

#include <filesystem>
#include <mutex>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "engine/block.h"

namespace vmigrate {

/// The digest of every block of a volume, in an unlinked temporary file (16 bytes a block, sparse), and their sum.
///
/// A block's digest is XXH3-128 of its 4096 bytes seeded with its index; a block of zeroes counts as 0. The root is the
/// sum of all block digests modulo 2^128, so that rewriting a block costs one subtraction and one addition, a hole
/// costs nothing, and two volumes of equal content have equal roots in whatever order they were written. It finds
/// faults, not forgers: against those stands TLS.
///
/// All but root() and digest_of() do blocking file I/O. Several threads may work on it, each on blocks of its own.
class DigestIndex {
 public:
  /// Every block starts as zeroes. The temporary file is made in `directory` and has no name.
  DigestIndex(VolumeGeometry geometry, const std::filesystem::path& directory);

  /// Records the content of extent.count blocks and returns how many of them changed.
  std::uint64_t update(Extent extent, std::span<const std::byte> blocks);
  /// The same, for blocks that now read as zeroes. Cheap for extents that never held data.
  std::uint64_t update_zeroes(Extent extent);
  /// Records digests, one for each block of `extent`, and returns how many of them changed.
  std::uint64_t record(Extent extent, std::span<const Bits128> digests);
  /// The recorded digests of the extent, one for each block.
  void recorded(Extent extent, std::span<Bits128> into) const;
  /// The first run of blocks within `extent` that are recorded as something else than zeroes. May be cut short: ask
  /// again from its end.
  std::optional<Extent> next_nonzero(Extent within) const;
  /// The digest of the whole volume as recorded.
  Bits128 root() const;

  /// The digest of one block, as recorded in the index.
  static Bits128 digest_of(BlockIndex index, std::span<const std::byte> block);

 private:
  void write(Extent extent, std::span<const Bits128> digests);
  void punch(Extent extent);

  VolumeGeometry geometry_;
  UniqueFd file_;
  mutable std::mutex root_mutex_;
  Bits128 root_;
};

}  // namespace vmigrate

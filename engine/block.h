// SPDX-License-Identifier: GPL-2.0-or-later
// The words of the disk: block, extent, geometry.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace vmigrate {

/// The unit of tracking, copying and digesting: 4 KiB, the page and the ext4/xfs block size.
inline constexpr std::uint32_t kBlockBytes = 4096;

/// The n-th block of a volume.
struct BlockIndex {
  std::uint64_t value = 0;
  auto operator<=>(const BlockIndex&) const = default;
};

/// Neighbouring blocks: [first, first + count). count > 0 wherever an extent is passed to a function.
struct Extent {
  BlockIndex first;
  std::uint64_t count = 0;

  BlockIndex end() const { return {first.value + count}; }
  std::uint64_t bytes() const { return count * kBlockBytes; }
  bool operator==(const Extent&) const = default;
};

/// How large a volume is. The last block may be partial: it is read padded with zeroes, and written cut to size.
struct VolumeGeometry {
  std::uint64_t bytes = 0;

  std::uint64_t block_count() const { return (bytes + kBlockBytes - 1) / kBlockBytes; }
  bool operator==(const VolumeGeometry&) const = default;
};

}  // namespace vmigrate

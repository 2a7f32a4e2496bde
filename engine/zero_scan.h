// SPDX-License-Identifier: GPL-2.0-or-later
// Is a block all zeroes?
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace vmigrate {

/// Most blocks differ from zero in the first bytes, so those are looked at first; for the others a comparison of the
/// bytes with themselves, shifted by the prefix known to be zero, runs at the speed of memcmp and needs no block of
/// zeroes.
inline bool is_zero(std::span<const std::byte> bytes) {
  constexpr std::size_t kPrefixBytes = 16;
  static constexpr std::byte kZeroes[kPrefixBytes] = {};
  if (bytes.size() < kPrefixBytes) return std::memcmp(bytes.data(), kZeroes, bytes.size()) == 0;
  return std::memcmp(bytes.data(), kZeroes, kPrefixBytes) == 0 &&
         std::memcmp(bytes.data(), bytes.data() + kPrefixBytes, bytes.size() - kPrefixBytes) == 0;
}

}  // namespace vmigrate

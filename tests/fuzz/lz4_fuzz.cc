// SPDX-License-Identifier: GPL-2.0-or-later
// Expanding a payload that somebody else compressed, and ours there and back.
#include "transport/lz4_codec.h"

#include <algorithm>
#include <vector>

#include "base/bytes.h"
#include "tests/fuzz/fuzz_targets.h"

namespace vmigrate::fuzz {
namespace {

constexpr std::size_t kAnnouncedBytes = 4;
// Longer ones only take longer.
constexpr std::uint32_t kPlainBytesMax = 64 << 10;

/// What a payload expands to in a buffer that held `before`.
std::optional<std::vector<std::byte>> expanded(Bytes packed, std::size_t plain_bytes, std::byte before) {
  std::vector<std::byte> plain(plain_bytes, before);
  const auto expand = [&] { return lz4_expand(packed, plain), true; };
  if (!accepted({Errc::protocol_violation}, expand)) return std::nullopt;
  return plain;
}

/// Nothing of what the buffer held before may show through.
void check_expansion(Bytes packed, std::size_t plain_bytes) {
  const auto plain = expanded(packed, plain_bytes, std::byte{0x00});
  MIGRATE_ASSERT(plain == expanded(packed, plain_bytes, std::byte{0xff}));
}

void check_there_and_back(Bytes plain) {
  std::vector<std::byte> packed(plain.size());
  const auto packed_bytes = lz4_compress(plain, packed);
  if (!packed_bytes) return;
  MIGRATE_ASSERT(*packed_bytes < plain.size());
  const auto again = expanded(Bytes(packed).first(*packed_bytes), plain.size(), std::byte{0x00});
  MIGRATE_ASSERT(again && std::ranges::equal(*again, plain));
}

}  // namespace

void lz4(Bytes input) {
  if (input.size() <= kAnnouncedBytes) return;
  const Bytes payload = input.subspan(kAnnouncedBytes);
  // As frame.h allows: more than the payload, and no more than a message may have.
  const std::size_t announced = ByteReader(input).u32() % kPlainBytesMax;
  check_expansion(payload, std::max(announced, payload.size() + 1));
  check_there_and_back(payload);
}

}  // namespace vmigrate::fuzz

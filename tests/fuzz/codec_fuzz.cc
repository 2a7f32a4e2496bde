// SPDX-License-Identifier: GPL-2.0-or-later
// Expanding a payload that somebody else compressed, and ours there and back.
#include "transport/codec.h"

#include <algorithm>
#include <vector>

#include "base/bytes.h"
#include "tests/fuzz/fuzz_targets.h"

namespace vmigrate::fuzz {
namespace {

constexpr std::size_t kHeadBytes = 5;
// Longer ones only take longer.
constexpr std::uint32_t kPlainBytesMax = 64 << 10;

/// What a payload expands to in a buffer that held `before`.
std::optional<std::vector<std::byte>> expanded(Codec codec, Bytes packed, std::size_t plain_bytes, std::byte before) {
  std::vector<std::byte> plain(plain_bytes, before);
  const auto expand = [&] { return Expander().expand(codec, packed, plain), true; };
  if (!accepted({Errc::protocol_violation}, expand)) return std::nullopt;
  return plain;
}

/// Nothing of what the buffer held before may show through.
void check_expansion(Codec codec, Bytes packed, std::size_t plain_bytes) {
  const auto plain = expanded(codec, packed, plain_bytes, std::byte{0x00});
  MIGRATE_ASSERT(plain == expanded(codec, packed, plain_bytes, std::byte{0xff}));
}

void check_there_and_back(Codec codec, Bytes plain) {
  std::vector<std::byte> packed(plain.size());
  const auto packed_bytes = Compressor().compress(codec, plain, packed);
  if (!packed_bytes) return;
  MIGRATE_ASSERT(*packed_bytes < plain.size());
  const auto again = expanded(codec, Bytes(packed).first(*packed_bytes), plain.size(), std::byte{0x00});
  MIGRATE_ASSERT(again && std::ranges::equal(*again, plain));
}

}  // namespace

void codec(Bytes input) {
  if (input.size() <= kHeadBytes) return;
  ByteReader head(input);
  const Codec codec = head.u8() % 2 == 1 ? Codec::lz4 : Codec::zstd;
  const Bytes payload = input.subspan(kHeadBytes);
  // As frame.h allows: more than the payload, and no more than a message may have.
  const std::size_t announced = head.u32() % kPlainBytesMax;
  check_expansion(codec, payload, std::max(announced, payload.size() + 1));
  check_there_and_back(codec, payload);
}

}  // namespace vmigrate::fuzz

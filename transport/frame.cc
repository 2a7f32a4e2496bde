// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/frame.h"

#include <algorithm>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/error.h"
#include "transport/message.h"

namespace vmigrate {
namespace {

constexpr std::size_t kChecksummedBytes = 12;
constexpr std::uint32_t kCastagnoliReversed = 0x82f63b78;

void check_lengths(const FrameHeader& header) {
  const MessageSpec& spec = spec_of(header.type);
  if (header.plain_bytes > spec.payload_bytes_max)
    throw Error(Errc::protocol_violation, "a frame announces a " + std::string(spec.name) + " of " +
                                              std::to_string(header.plain_bytes) + " bytes, more than the " +
                                              std::to_string(spec.payload_bytes_max) + " allowed");
  // A compressed payload that is not smaller would have been sent as it is, so its bound bounds both lengths.
  const bool fits = header.codec == Codec::none ? header.wire_bytes == header.plain_bytes
                                                : header.wire_bytes > 0 && header.wire_bytes < header.plain_bytes;
  if (!fits) throw Error(Errc::protocol_violation, "the two lengths in a frame header contradict each other");
}

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes) noexcept {
  // Bit by bit: it is run over 12 bytes, and once over an offer.
  std::uint32_t crc = ~0U;
  for (const std::byte b : bytes) {
    crc ^= std::to_integer<std::uint32_t>(b);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (kCastagnoliReversed & (0U - (crc & 1U)));
  }
  return ~crc;
}

void encode_header(const FrameHeader& header, std::span<std::byte, kFrameHeaderBytes> out) {
  std::vector<std::byte> bytes;
  bytes.reserve(kFrameHeaderBytes);
  ByteWriter writer(bytes);
  writer.u16(kFrameMagic);
  writer.u8(header.type);
  writer.u8(static_cast<std::uint8_t>(header.codec));
  writer.u32(header.wire_bytes);
  writer.u32(header.plain_bytes);
  MIGRATE_ASSERT(bytes.size() == kChecksummedBytes);
  writer.u32(crc32c(bytes));
  std::ranges::copy(bytes, out.begin());
}

FrameHeader decode_header(std::span<const std::byte, kFrameHeaderBytes> bytes) {
  ByteReader reader(bytes);
  if (reader.u16() != kFrameMagic)
    throw Error(Errc::protocol_violation, "a frame does not begin with the magic number");
  FrameHeader header;
  header.type = reader.u8();
  const std::uint8_t flags = reader.u8();
  header.wire_bytes = reader.u32();
  header.plain_bytes = reader.u32();
  if (reader.u32() != crc32c(bytes.first(kChecksummedBytes)))
    throw Error(Errc::protocol_violation, "the checksum of a frame header is wrong");
  if (flags > static_cast<std::uint8_t>(Codec::zstd))
    throw Error(Errc::protocol_violation, "a frame has a flag that is not assigned");
  header.codec = static_cast<Codec>(flags);
  check_lengths(header);
  return header;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/frame.h"

#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "tests/catch.h"
#include "transport/message.h"

using namespace vmigrate;

namespace {

using Header = std::array<std::byte, kFrameHeaderBytes>;

Header encoded(const FrameHeader& header) {
  Header bytes{};
  encode_header(header, bytes);
  return bytes;
}

/// A header whose fields may be nonsense but whose checksum is right.
Header forged(std::uint16_t magic, std::uint8_t type, std::uint8_t flags, std::uint32_t wire, std::uint32_t plain) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.u16(magic);
  writer.u8(type);
  writer.u8(flags);
  writer.u32(wire);
  writer.u32(plain);
  writer.u32(crc32c(bytes));
  Header header{};
  std::ranges::copy(bytes, header.begin());
  return header;
}

constexpr std::uint8_t kGo = 49;
constexpr std::uint8_t kBlockData = 16;

}  // namespace

TEST_CASE("crc32c gives the well-known check value", "[transport][frame]") {
  const std::string digits = "123456789";
  CHECK(crc32c(std::as_bytes(std::span(digits))) == 0xe3069283);
}

TEST_CASE("a frame header survives the wire", "[transport][frame]") {
  for (const FrameHeader& header :
       {FrameHeader{kGo, Codec::none, 16, 16}, FrameHeader{kBlockData, Codec::lz4, 100, 4108},
        FrameHeader{kBlockData, Codec::zstd, 100, 4108}, FrameHeader{21, Codec::none, 0, 0}})
    CHECK(decode_header(encoded(header)) == header);
  CHECK(to_hex(encoded({kGo, Codec::none, 16, 16})).substr(0, 24) == "564d31001000000010000000");
}

TEST_CASE("one flipped bit anywhere in a frame header is noticed", "[transport][frame]") {
  const Header good = encoded({kBlockData, Codec::lz4, 100, 4108});
  for (std::size_t bit = 0; bit < 8 * kFrameHeaderBytes; ++bit) {
    Header damaged = good;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    CHECK_THROWS_AS(decode_header(damaged), Error);
  }
}

TEST_CASE("a frame header that is not in the protocol is refused", "[transport][frame]") {
  CHECK_NOTHROW(decode_header(forged(kFrameMagic, kGo, 0, 16, 16)));
  CHECK_THROWS_AS(decode_header(forged(0x4d57, kGo, 0, 16, 16)), Error);
  CHECK_THROWS_AS(decode_header(forged(kFrameMagic, 0, 0, 16, 16)), Error);
  CHECK_THROWS_AS(decode_header(forged(kFrameMagic, 255, 0, 16, 16)), Error);
  for (unsigned flags = 3; flags < 256; ++flags)
    CHECK_THROWS_AS(decode_header(forged(kFrameMagic, kGo, static_cast<std::uint8_t>(flags), 15, 16)), Error);
}

TEST_CASE("a length is checked against the message before anybody allocates it", "[transport][frame]") {
  for (const MessageSpec& spec : kMessageSpecs) {
    const std::uint32_t max = spec.payload_bytes_max;
    CHECK_NOTHROW(decode_header(forged(kFrameMagic, spec.type, 0, max, max)));
    CHECK_THROWS_AS(decode_header(forged(kFrameMagic, spec.type, 0, max + 1, max + 1)), Error);
    CHECK_THROWS_AS(decode_header(forged(kFrameMagic, spec.type, 1, 1, max + 1)), Error);
    CHECK_THROWS_AS(decode_header(forged(kFrameMagic, spec.type, 1, 1, UINT32_MAX)), Error);
  }
}

TEST_CASE("the two lengths of a frame agree with its flag", "[transport][frame]") {
  CHECK_THROWS_AS(decode_header(forged(kFrameMagic, kBlockData, 0, 100, 4108)), Error);
  CHECK_THROWS_AS(decode_header(forged(kFrameMagic, kBlockData, 1, 4108, 4108)), Error);
  CHECK_THROWS_AS(decode_header(forged(kFrameMagic, kBlockData, 1, 0, 4108)), Error);
  CHECK_THROWS_AS(decode_header(forged(kFrameMagic, kBlockData, 1, 5000, 4108)), Error);
}

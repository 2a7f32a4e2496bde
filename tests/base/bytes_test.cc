// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/bytes.h"

#include "base/error.h"
#include "tests/catch.h"

using namespace vmigrate;

TEST_CASE("what a ByteWriter wrote a ByteReader reads back", "[base]") {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.u8(0x12);
  writer.u16(0x3456);
  writer.u32(0x789abcde);
  writer.u64(0x0102030405060708);
  writer.bits128({1, 2});
  writer.short_string("ct7");
  writer.long_string("config");

  ByteReader reader(bytes);
  CHECK(reader.u8() == 0x12);
  CHECK(reader.u16() == 0x3456);
  CHECK(reader.u32() == 0x789abcde);
  CHECK(reader.u64() == 0x0102030405060708);
  CHECK(reader.bits128() == Bits128{1, 2});
  CHECK(reader.short_string() == "ct7");
  CHECK(reader.long_string(6) == "config");
  CHECK_NOTHROW(reader.expect_end());
}

TEST_CASE("integers are little-endian on the wire", "[base]") {
  std::vector<std::byte> bytes;
  ByteWriter(bytes).u32(0x01020304);
  CHECK(to_hex(bytes) == "04030201");
}

TEST_CASE("reading past the end is the peer's fault, not a crash", "[base]") {
  const auto bytes = from_hex("0102");
  CHECK_THROWS_AS(ByteReader(bytes).u32(), Error);
}

TEST_CASE("bytes left over are refused", "[base]") {
  const auto bytes = from_hex("01");
  CHECK_THROWS_AS(ByteReader(bytes).expect_end(), Error);
}

TEST_CASE("a text longer than its bound is refused before it is read", "[base]") {
  const auto bytes = from_hex("ffffffff");
  CHECK_THROWS_AS(ByteReader(bytes).long_string(16), Error);
}

TEST_CASE("a 128-bit id survives its hex form", "[base]") {
  const Bits128 id{0x0123456789abcdef, 0xfedcba9876543210};
  CHECK(to_hex(id) == "fedcba98765432100123456789abcdef");
  CHECK(bits128_from_hex(to_hex(id)) == id);
  CHECK_THROWS_AS(bits128_from_hex("12"), Error);
}

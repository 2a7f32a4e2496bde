// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/bytes.h"

#include "base/assert.h"
#include "base/error.h"

namespace vmigrate {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

template <typename Integer>
Integer read_little_endian(std::span<const std::byte> bytes) {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i)
    value = static_cast<Integer>(value | static_cast<Integer>(std::to_integer<Integer>(bytes[i]) << (8 * i)));
  return value;
}

template <typename Integer>
void write_little_endian(std::vector<std::byte>& out, Integer value) {
  for (std::size_t i = 0; i < sizeof(Integer); ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

unsigned hex_value(char digit) {
  const auto at = kHexDigits.find(digit);
  if (at == std::string_view::npos) throw Error(Errc::protocol_violation, "a hex number holds another character");
  return static_cast<unsigned>(at);
}

}  // namespace

std::string to_hex(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    text.push_back(kHexDigits[std::to_integer<unsigned>(b) >> 4]);
    text.push_back(kHexDigits[std::to_integer<unsigned>(b) & 15]);
  }
  return text;
}

std::string to_hex(Bits128 bits) {
  std::string text;
  for (const std::uint64_t word : {bits.high, bits.low})
    for (int shift = 60; shift >= 0; shift -= 4) text.push_back(kHexDigits[(word >> shift) & 15]);
  return text;
}

std::vector<std::byte> from_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) throw Error(Errc::protocol_violation, "a hex number has an odd number of digits");
  std::vector<std::byte> bytes;
  bytes.reserve(digits.size() / 2);
  for (std::size_t i = 0; i < digits.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(hex_value(digits[i]) << 4 | hex_value(digits[i + 1])));
  return bytes;
}

Bits128 bits128_from_hex(std::string_view digits) {
  if (digits.size() != 32) throw Error(Errc::protocol_violation, "a 128-bit id is not 32 hex digits long");
  Bits128 bits;
  for (const char digit : digits) {
    bits.high = bits.high << 4 | bits.low >> 60;
    bits.low = bits.low << 4 | hex_value(digit);
  }
  return bits;
}

std::span<const std::byte> ByteReader::take(std::size_t count) {
  if (count > rest_.size()) throw Error(Errc::protocol_violation, "a message is shorter than its fields");
  const auto taken = rest_.first(count);
  rest_ = rest_.subspan(count);
  return taken;
}

std::uint8_t ByteReader::u8() { return std::to_integer<std::uint8_t>(take(1)[0]); }
std::uint16_t ByteReader::u16() { return read_little_endian<std::uint16_t>(take(2)); }
std::uint32_t ByteReader::u32() { return read_little_endian<std::uint32_t>(take(4)); }
std::uint64_t ByteReader::u64() { return read_little_endian<std::uint64_t>(take(8)); }

Bits128 ByteReader::bits128() {
  const std::uint64_t low = u64();
  return {low, u64()};
}

std::string ByteReader::short_string() {
  const auto bytes = take(u16());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string ByteReader::long_string(std::uint32_t bytes_max) {
  const std::uint32_t length = u32();
  if (length > bytes_max) throw Error(Errc::protocol_violation, "a text in a message is longer than allowed");
  const auto bytes = take(length);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> ByteReader::rest() { return take(rest_.size()); }

void ByteReader::expect_end() const {
  if (!rest_.empty()) throw Error(Errc::protocol_violation, "a message is longer than its fields");
}

void ByteWriter::u8(std::uint8_t value) { write_little_endian(out_, value); }
void ByteWriter::u16(std::uint16_t value) { write_little_endian(out_, value); }
void ByteWriter::u32(std::uint32_t value) { write_little_endian(out_, value); }
void ByteWriter::u64(std::uint64_t value) { write_little_endian(out_, value); }

void ByteWriter::bits128(Bits128 value) {
  u64(value.low);
  u64(value.high);
}

void ByteWriter::bytes(std::span<const std::byte> value) { out_.insert(out_.end(), value.begin(), value.end()); }

void ByteWriter::short_string(std::string_view value) {
  MIGRATE_ASSERT(value.size() <= UINT16_MAX);
  u16(static_cast<std::uint16_t>(value.size()));
  bytes(std::as_bytes(std::span(value)));
}

void ByteWriter::long_string(std::string_view value) {
  MIGRATE_ASSERT(value.size() <= UINT32_MAX);
  u32(static_cast<std::uint32_t>(value.size()));
  bytes(std::as_bytes(std::span(value)));
}

}  // namespace vmigrate

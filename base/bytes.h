// SPDX-License-Identifier: GPL-2.0-or-later
// Bounds-checked little-endian cursors over bytes. Nothing that came from a wire or a disk is ever cast onto a struct.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmigrate {

/// 128 bits that name or summarise something (a digest, a migration id).
struct Bits128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  auto operator<=>(const Bits128&) const = default;
};

/// 32 lower-case hex digits, most significant first.
std::string to_hex(Bits128 bits);
std::string to_hex(std::span<const std::byte> bytes);
/// The bytes of an even number of hex digits. Throws Error(protocol_violation) on anything else.
std::vector<std::byte> from_hex(std::string_view digits);
/// The inverse of to_hex(Bits128). Throws Error(protocol_violation) unless `digits` is 32 hex digits.
Bits128 bits128_from_hex(std::string_view digits);

/// Reads from the front of `bytes`, which must outlive the reader. Reading past the end throws
/// Error(Errc::protocol_violation); spans returned point into `bytes`.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  std::uint8_t u8();
  std::uint16_t u16();
  std::uint32_t u32();
  std::uint64_t u64();
  Bits128 bits128();
  std::span<const std::byte> take(std::size_t count);
  /// A u16 length, then that many bytes.
  std::string short_string();
  /// A u32 length, at most `bytes_max`, then that many bytes.
  std::string long_string(std::uint32_t bytes_max);
  std::span<const std::byte> rest();
  /// Throws unless every byte was read.
  void expect_end() const;

 private:
  std::span<const std::byte> rest_;
};

/// Appends to `out`, which must outlive the writer.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::byte>& out) : out_(out) {}

  void u8(std::uint8_t value);
  void u16(std::uint16_t value);
  void u32(std::uint32_t value);
  void u64(std::uint64_t value);
  void bits128(Bits128 value);
  void bytes(std::span<const std::byte> value);
  void short_string(std::string_view value);
  void long_string(std::string_view value);

 private:
  std::vector<std::byte>& out_;
};

}  // namespace vmigrate

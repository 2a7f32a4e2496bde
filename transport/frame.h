// SPDX-License-Identifier: GPL-2.0-or-later
// The 16 bytes in front of every message (docs/protocol.md, "The frame"). Pure: no I/O, no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "transport/codec.h"

namespace vmigrate {

inline constexpr std::size_t kFrameHeaderBytes = 16;
inline constexpr std::uint16_t kFrameMagic = 0x4d56;  // "VM" as it stands on the wire

struct FrameHeader {
  std::uint8_t type = 0;
  Codec codec = Codec::none;
  std::uint32_t wire_bytes = 0;   ///< length of what follows the header
  std::uint32_t plain_bytes = 0;  ///< its length after decompression; equal to wire_bytes without a codec
  bool operator==(const FrameHeader&) const = default;
};

void encode_header(const FrameHeader& header, std::span<std::byte, kFrameHeaderBytes> out);
/// A header whose type is assigned and whose lengths respect the message's MessageSpec, so that the caller may allocate
/// plain_bytes. Throws Error(Errc::protocol_violation) for anything else.
FrameHeader decode_header(std::span<const std::byte, kFrameHeaderBytes> bytes);

/// CRC-32C (Castagnoli), as in iSCSI and ext4.
std::uint32_t crc32c(std::span<const std::byte> bytes) noexcept;

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// A stream of frames, read as TlsChannel::receive() does.
#include "transport/frame.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/bytes.h"
#include "tests/fuzz/fuzz_targets.h"
#include "transport/message.h"

namespace vmigrate::fuzz {
namespace {

constexpr std::size_t kChecksumBytes = 4;
using Head = std::array<std::byte, kFrameHeaderBytes>;

/// A fuzzer does not guess a checksum, and what it guards would never be reached.
enum class Checksums { as_sent, put_right };

void put_right(Head& head) {
  const auto fields = Bytes(head).first(kFrameHeaderBytes - kChecksumBytes);
  std::vector<std::byte> checksum;
  ByteWriter(checksum).u32(crc32c(fields));
  std::ranges::copy(checksum, head.end() - kChecksumBytes);
}

std::optional<FrameHeader> read_header(const Head& head) {
  const auto header = accepted({Errc::protocol_violation}, [&] { return decode_header(head); });
  if (!header) return std::nullopt;
  MIGRATE_ASSERT(header->plain_bytes <= spec_of(header->type).payload_bytes_max);
  MIGRATE_ASSERT(header->wire_bytes <= header->plain_bytes);
  Head again;
  encode_header(*header, again);
  MIGRATE_ASSERT(again == head);
  return header;
}

std::optional<std::vector<std::byte>> expanded(const FrameHeader& header, Bytes wire) {
  std::vector<std::byte> plain(header.plain_bytes);
  if (header.codec == Codec::none) {
    std::ranges::copy(wire, plain.begin());
    return plain;
  }
  const auto expand = [&] { return Expander().expand(header.codec, wire, plain), true; };
  if (!accepted({Errc::protocol_violation}, expand)) return std::nullopt;
  return plain;
}

void read_stream(Bytes rest, Checksums checksums) {
  while (rest.size() >= kFrameHeaderBytes) {
    Head head;
    std::ranges::copy(rest.first<kFrameHeaderBytes>(), head.begin());
    if (checksums == Checksums::put_right) put_right(head);
    const auto header = read_header(head);
    rest = rest.subspan(kFrameHeaderBytes);
    if (!header || header->wire_bytes > rest.size()) return;
    const auto plain = expanded(*header, rest.first(header->wire_bytes));
    rest = rest.subspan(header->wire_bytes);
    if (!plain) return;
    const auto message = accepted({Errc::protocol_violation}, [&] { return decode(header->type, *plain); });
    if (!message) return;
    MIGRATE_ASSERT(type_of(*message) == header->type);
  }
}

}  // namespace

void frame(Bytes input) {
  read_stream(input, Checksums::as_sent);
  read_stream(input, Checksums::put_right);
}

}  // namespace vmigrate::fuzz

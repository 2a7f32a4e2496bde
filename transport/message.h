// SPDX-License-Identifier: GPL-2.0-or-later
// The messages: one struct each. docs/protocol.md specifies them and a test compares it with kMessageSpecs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"

namespace vmigrate {

inline constexpr std::uint16_t kProtocolVersionMin = 1;
inline constexpr std::uint16_t kProtocolVersionMax = 1;
inline constexpr std::uint32_t kJsonBytesMax = 256 << 10;      ///< a document inside a message
inline constexpr std::uint32_t kSentenceBytesMax = 4 << 10;    ///< a reason for a person
inline constexpr std::uint32_t kDataBytesMax = 1 << 20;        ///< blocks or file bytes in one message, uncompressed
inline constexpr std::uint32_t kNameBytesMax = 255;
inline constexpr std::uint32_t kWireBlockBytes = 4096;             ///< a block on the wire
inline constexpr std::uint32_t kWireDigestBytes = 16;              ///< the digest of one
inline constexpr std::uint64_t kBlocksMax = 1ULL << 52;        ///< blocks whose byte offsets fit in 64 bits
inline constexpr std::uint32_t kManifestFilesMax = 65536;
inline constexpr std::uint32_t kManifestBytesMax = 1 << 20;
inline constexpr std::uint32_t kPayloadBytesMax = 2 << 20;     ///< more than any message has
inline constexpr std::uint32_t kGreetingBytesMax = 4102;       ///< a Hello, or the Refuse that answers it
inline constexpr std::uint32_t kRequestBytesMax = 262164;      ///< an Open, Pull, Start, List, Tune or Ask

/// A migration attempt: random, chosen by the source, the key of everything that is repeated or asked.
using MigrationId = Bits128;

// --- opening a conversation ---------------------------------------------------------------------------------------

/// First message in both directions. Whoever dialled says what the connection is for in its second message.
struct Hello {
  std::uint16_t version_min = kProtocolVersionMin;
  std::uint16_t version_max = kProtocolVersionMax;
  Bits128 host_id;            ///< random per state directory: SRC equal to DST is recognised by it
  std::string host_name;
  std::string software;       ///< "vmigrate 0.1.0", for logs only
};
/// Source to destination: may I move this container to you? `offer` is JSON (docs/protocol.md, "The offer").
struct Open { MigrationId id; std::string offer; };
/// Destination: yes, everything is prepared. `answer` is JSON.
struct Accept { MigrationId id; std::string answer; };
/// No. Ends the conversation. `code` is an Errc number.
struct Refuse { std::uint32_t code = 0; std::string reason; };
/// Destination to source, when the destination dialled: please Open this container to me on this connection.
struct Pull { std::string request; };
/// An operator's command to an agent: start a session, or a dry run. JSON.
struct Start { std::string request; };
/// Agent to operator while a session runs: one JSON event.
struct Event { std::string json; };
/// Agent to operator: the session's end, the report as JSON; or the answer to Tune. The last message.
struct Report { std::string json; };
/// Operator to agent: cancel. Agent to agent before the hand-over: we stop; the source goes on. `code` is an Errc
/// number.
struct Abort { MigrationId id; std::uint32_t code = 0; std::string reason; };
/// Another connection for the blocks of a migration that both sides have accepted, from whoever dialled the first; the
/// other side repeats it. From then on it carries BlockData, BlockZeroes and RoundEnd.
struct Join { MigrationId id; };
/// An operator to an agent: which containers run there? JSON.
struct List { std::string request; };
/// Agent to operator: some of them, as JSON; the document says if another Listing follows.
struct Listing { std::string json; };
/// An operator to the agent of a source: from now on send this container faster, or slower. JSON; answered by Report.
struct Tune { std::string request; };
/// Destination to source, after Accept: the digests of blocks that it holds already, 16 bytes each, in order, beginning
/// with that of `first_block`. What lies between two of these messages is zeroes. One without digests says how far it
/// has read.
struct Digests { std::uint64_t first_block = 0; std::span<const std::byte> bytes; };
/// That was all it holds; `root` is the digest of all of it.
struct DigestsEnd { Bits128 root; };

// --- blocks -------------------------------------------------------------------------------------------------------

/// Blocks [first_block, first_block + block_count), 4096 bytes each. `bytes` points into the channel's buffer.
struct BlockData { std::uint64_t first_block = 0; std::uint32_t block_count = 0; std::span<const std::byte> bytes; };
/// These blocks read as zeroes.
struct BlockZeroes { std::uint64_t first_block = 0; std::uint64_t block_count = 0; };
/// Every block of this round was sent; `root` digests the whole volume as sent so far. `kind` 0: the container runs on;
/// 1: it stands still, this was the last round; 2: as 1, and the destination reads its whole volume again for its
/// answer; 3: the round goes on with blocks that may have been sent before, once these are written. With joined
/// connections each of them carries it after its last block, then the first one.
struct RoundEnd { std::uint32_t round = 0; std::uint8_t kind = 0; Bits128 root; };
/// The round is on stable storage, and its digest is `root`.
struct RoundAck { std::uint32_t round = 0; Bits128 root; };
/// Dry run only: filler to measure the link with; never stored.
struct LinkProbe { std::span<const std::byte> bytes; };
/// Asks for LinkProbeAck when everything before it has been received.
struct LinkProbeEnd {};
struct LinkProbeAck { std::uint64_t bytes_received = 0; };

// --- checkpoint ---------------------------------------------------------------------------------------------------

/// Bytes [offset, offset + bytes.size()) of one checkpoint file. Names are plain: [A-Za-z0-9][A-Za-z0-9._-]*, no slash.
struct ImageChunk { std::string name; std::uint64_t offset = 0; std::span<const std::byte> bytes; };
struct ManifestEntry { std::string name; std::uint64_t bytes = 0; Bits128 digest; };
/// Every checkpoint file, in the order of their names. Nothing is given to CRIU before all of it is verified.
struct Manifest { std::vector<ManifestEntry> files; };

// --- the hand-over (docs/states.md) -------------------------------------------------------------------------------

/// Destination: restored and held, recorded PREPARED; `root` is the digest of my volume.
struct Ready { MigrationId id; Bits128 root; };
/// Source: recorded GIVEN; the container is yours.
struct Go { MigrationId id; };
/// Destination: recorded OWNED; it runs here.
struct Running { MigrationId id; std::uint64_t epoch = 0; };
/// Destination: recorded REFUSED; I will never run this attempt.
struct Refused { MigrationId id; };
/// Source: recorded RELEASED; my copy is gone or renamed.
struct Done { MigrationId id; };
/// Either side after a reconnect: what became of this attempt?
struct Ask { MigrationId id; std::string container; };
/// The other side is still busy with it: ask again.
struct Wait { MigrationId id; };

using Message = std::variant<Hello, Open, Accept, Refuse, Pull, Start, Event, Report, Abort, Join, List,
                             Listing, Digests, DigestsEnd, Tune, BlockData, BlockZeroes, RoundEnd, RoundAck,
                             LinkProbe, LinkProbeEnd, LinkProbeAck, ImageChunk, Manifest, Ready, Go, Running, Refused,
                             Done, Ask, Wait>;

enum class Direction { both, source_to_destination, destination_to_source, operator_to_agent, agent_to_operator };

struct MessageSpec {
  std::uint8_t type;                  ///< assigned here, never reused, zero is never valid
  std::string_view name;
  Direction direction;
  std::uint32_t payload_bytes_max;    ///< after decompression
};
/// One row for each alternative of Message, in the same order.
extern const std::span<const MessageSpec> kMessageSpecs;

std::uint8_t type_of(const Message& message);
std::string_view name_of(const Message& message);
/// The row for a type number; throws Error(Errc::protocol_violation) for a number that is not assigned.
const MessageSpec& spec_of(std::uint8_t type);

/// Appends the payload (without the frame header) to `out`. A sentence longer than kSentenceBytesMax is cut. Throws
/// Error(Errc::internal) for a message that docs/protocol.md forbids to send.
void encode(const Message& message, std::vector<std::byte>& out);
/// The same for a sender that does not want to copy blocks: appends all but the trailing `bytes` of a BlockData,
/// LinkProbe, ImageChunk or Digests, and returns those (empty for any other message).
std::span<const std::byte> encode_head(const Message& message, std::vector<std::byte>& out);
/// Throws Error(Errc::protocol_violation). Spans in the result point into `payload`.
Message decode(std::uint8_t type, std::span<const std::byte> payload);

}  // namespace vmigrate

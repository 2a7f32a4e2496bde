// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/message.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace vmigrate {
namespace {

constexpr std::uint32_t kIdBytes = 16;
constexpr std::uint32_t kDigestBytes = 16;
constexpr std::uint32_t kShortNameBytes = 2 + kNameBytesMax;
constexpr std::uint32_t kSentenceBytes = 2 + kSentenceBytesMax;
constexpr std::uint32_t kJsonBytes = 4 + kJsonBytesMax;
constexpr std::uint32_t kManifestEntryBytesMin = 2 + 1 + 8 + kDigestBytes;

using enum Direction;
constexpr std::array kSpecs = {
    MessageSpec{1, "Hello", both, 2 + 2 + 16 + 2 * kShortNameBytes},
    MessageSpec{2, "Open", source_to_destination, kIdBytes + kJsonBytes},
    MessageSpec{3, "Accept", destination_to_source, kIdBytes + kJsonBytes},
    MessageSpec{4, "Refuse", both, 4 + kSentenceBytes},
    MessageSpec{5, "Pull", destination_to_source, kJsonBytes},
    MessageSpec{6, "Start", operator_to_agent, kJsonBytes},
    MessageSpec{7, "Event", agent_to_operator, kJsonBytes},
    MessageSpec{8, "Report", agent_to_operator, kJsonBytes},
    MessageSpec{9, "Abort", both, kIdBytes + 4 + kSentenceBytes},
    MessageSpec{10, "Join", both, kIdBytes},
    MessageSpec{11, "List", operator_to_agent, kJsonBytes},
    MessageSpec{12, "Listing", agent_to_operator, kJsonBytes},
    MessageSpec{13, "Digests", destination_to_source, 8 + kDataBytesMax},
    MessageSpec{14, "DigestsEnd", destination_to_source, kDigestBytes},
    MessageSpec{15, "Tune", operator_to_agent, kJsonBytes},
    MessageSpec{16, "BlockData", source_to_destination, 8 + 4 + kDataBytesMax},
    MessageSpec{17, "BlockZeroes", source_to_destination, 8 + 8},
    MessageSpec{18, "RoundEnd", source_to_destination, 4 + 1 + kDigestBytes},
    MessageSpec{19, "RoundAck", destination_to_source, 4 + kDigestBytes},
    MessageSpec{20, "LinkProbe", source_to_destination, kDataBytesMax},
    MessageSpec{21, "LinkProbeEnd", source_to_destination, 0},
    MessageSpec{22, "LinkProbeAck", destination_to_source, 8},
    MessageSpec{32, "ImageChunk", source_to_destination, kShortNameBytes + 8 + kDataBytesMax},
    MessageSpec{33, "Manifest", source_to_destination, kManifestBytesMax},
    MessageSpec{48, "Ready", destination_to_source, kIdBytes + kDigestBytes},
    MessageSpec{49, "Go", source_to_destination, kIdBytes},
    MessageSpec{50, "Running", destination_to_source, kIdBytes + 8},
    MessageSpec{51, "Refused", destination_to_source, kIdBytes},
    MessageSpec{52, "Done", source_to_destination, kIdBytes},
    MessageSpec{53, "Ask", both, kIdBytes + kShortNameBytes},
    MessageSpec{54, "Wait", both, kIdBytes},
};
static_assert(kSpecs.size() == std::variant_size_v<Message>);

constexpr bool types_are_ascending_and_not_zero() {
  return kSpecs.front().type > 0 && std::ranges::is_sorted(kSpecs, std::ranges::less_equal{}, &MessageSpec::type);
}
static_assert(types_are_ascending_and_not_zero());

// --- what both directions check; `blame` is internal for what we send, protocol_violation for what we receive ------

void require(bool holds, Errc blame, const char* sentence) {
  if (!holds) throw Error(blame, sentence);
}

bool is_plain_name_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

void check_file_name(const std::string& name, Errc blame) {
  const bool is_plain = !name.empty() && name.size() <= kNameBytesMax && name[0] != '.' && name[0] != '_' &&
                        name[0] != '-' && std::ranges::all_of(name, is_plain_name_character);
  require(is_plain, blame, "the name of a checkpoint file is not a plain name");
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

void check(const Hello& m, Errc blame) {
  require(m.version_min > 0 && m.version_min <= m.version_max, blame, "a Hello offers no protocol version");
  for (const auto* text : {&m.host_name, &m.software})
    require(text->size() <= kNameBytesMax && std::ranges::none_of(*text, is_control), blame,
            "a name in a Hello is too long or not printable");
}

void check_json(const std::string& json, Errc blame) {
  require(json.size() <= kJsonBytesMax, blame, "a JSON document in a message is longer than 256 KiB");
}

void check(const Open& m, Errc blame) { check_json(m.offer, blame); }
void check(const Accept& m, Errc blame) { check_json(m.answer, blame); }
void check(const Pull& m, Errc blame) { check_json(m.request, blame); }
void check(const Start& m, Errc blame) { check_json(m.request, blame); }
void check(const Event& m, Errc blame) { check_json(m.json, blame); }
void check(const Report& m, Errc blame) { check_json(m.json, blame); }
void check(const List& m, Errc blame) { check_json(m.request, blame); }
void check(const Listing& m, Errc blame) { check_json(m.json, blame); }
void check(const Tune& m, Errc blame) { check_json(m.request, blame); }

void check_extent(std::uint64_t first, std::uint64_t count, Errc blame) {
  require(count > 0 && count <= kBlocksMax && first <= kBlocksMax - count, blame,
          "a range of blocks is empty or runs past the largest block number");
}

void check(const Digests& m, Errc blame) {
  require(m.bytes.size() <= kDataBytesMax && m.bytes.size() % kWireDigestBytes == 0, blame,
          "a Digests is longer than 1 MiB or does not carry 16 bytes for each of its blocks");
  require(m.first_block <= kBlocksMax - m.bytes.size() / kWireDigestBytes, blame,
          "a range of blocks runs past the largest block number");
}

void check(const BlockData& m, Errc blame) {
  check_extent(m.first_block, m.block_count, blame);
  require(m.bytes.size() <= kDataBytesMax && m.bytes.size() == std::uint64_t{m.block_count} * kWireBlockBytes, blame,
          "a BlockData does not carry 4096 bytes for each of its blocks");
}

void check(const BlockZeroes& m, Errc blame) { check_extent(m.first_block, m.block_count, blame); }
void check(const RoundEnd& m, Errc blame) { require(m.kind <= 3, blame, "the kind of a RoundEnd is not 0 to 3"); }

void check(const LinkProbe& m, Errc blame) {
  require(m.bytes.size() <= kDataBytesMax, blame, "a LinkProbe is longer than 1 MiB");
}

void check(const ImageChunk& m, Errc blame) {
  check_file_name(m.name, blame);
  // An off_t is signed.
  require(m.bytes.size() <= kDataBytesMax && m.offset <= INT64_MAX - m.bytes.size(), blame,
          "an ImageChunk is longer than 1 MiB or runs past the largest file offset");
}

void check(const Manifest& m, Errc blame) {
  require(m.files.size() <= kManifestFilesMax, blame, "a Manifest lists more than 65536 files");
  for (const auto& file : m.files) {
    check_file_name(file.name, blame);
    require(file.bytes <= INT64_MAX, blame, "a file in a Manifest is longer than a file can be");
  }
  require(std::ranges::is_sorted(m.files, std::ranges::less_equal{}, &ManifestEntry::name), blame,
          "the files of a Manifest are not in the order of their names, each once");
}

template <typename T>
void check(const T&, Errc) {}  // every value of its fields is allowed

// --- fields, in the order of docs/protocol.md: put() and get() side by side ------------------------------------------

using Bulk = std::span<const std::byte>;

void put_json(ByteWriter& out, const std::string& json) { out.long_string(json); }
std::string get_json(ByteReader& in) { return in.long_string(kJsonBytesMax); }

void put_sentence(ByteWriter& out, const std::string& reason) {
  out.short_string(std::string_view(reason).substr(0, kSentenceBytesMax));
}
std::string get_sentence(ByteReader& in) {
  std::string reason = in.short_string();
  require(reason.size() <= kSentenceBytesMax, Errc::protocol_violation, "a reason is longer than 4 KiB");
  return reason;
}

Bulk put(ByteWriter& out, const Hello& m) {
  out.u16(m.version_min);
  out.u16(m.version_max);
  out.bits128(m.host_id);
  out.short_string(m.host_name);
  out.short_string(m.software);
  return {};
}
void get(ByteReader& in, Hello& m) {
  m.version_min = in.u16();
  m.version_max = in.u16();
  m.host_id = in.bits128();
  m.host_name = in.short_string();
  m.software = in.short_string();
}

Bulk put(ByteWriter& out, const Open& m) {
  out.bits128(m.id);
  put_json(out, m.offer);
  return {};
}
void get(ByteReader& in, Open& m) {
  m.id = in.bits128();
  m.offer = get_json(in);
}

Bulk put(ByteWriter& out, const Accept& m) {
  out.bits128(m.id);
  put_json(out, m.answer);
  return {};
}
void get(ByteReader& in, Accept& m) {
  m.id = in.bits128();
  m.answer = get_json(in);
}

Bulk put(ByteWriter& out, const Refuse& m) {
  out.u32(m.code);
  put_sentence(out, m.reason);
  return {};
}
void get(ByteReader& in, Refuse& m) {
  m.code = in.u32();
  m.reason = get_sentence(in);
}

Bulk put(ByteWriter& out, const Pull& m) { return put_json(out, m.request), Bulk{}; }
void get(ByteReader& in, Pull& m) { m.request = get_json(in); }

Bulk put(ByteWriter& out, const Start& m) { return put_json(out, m.request), Bulk{}; }
void get(ByteReader& in, Start& m) { m.request = get_json(in); }

Bulk put(ByteWriter& out, const Event& m) { return put_json(out, m.json), Bulk{}; }
void get(ByteReader& in, Event& m) { m.json = get_json(in); }

Bulk put(ByteWriter& out, const Report& m) { return put_json(out, m.json), Bulk{}; }
void get(ByteReader& in, Report& m) { m.json = get_json(in); }

Bulk put(ByteWriter& out, const List& m) { return put_json(out, m.request), Bulk{}; }
void get(ByteReader& in, List& m) { m.request = get_json(in); }

Bulk put(ByteWriter& out, const Listing& m) { return put_json(out, m.json), Bulk{}; }
void get(ByteReader& in, Listing& m) { m.json = get_json(in); }

Bulk put(ByteWriter& out, const Tune& m) { return put_json(out, m.request), Bulk{}; }
void get(ByteReader& in, Tune& m) { m.request = get_json(in); }

Bulk put(ByteWriter& out, const Abort& m) {
  out.bits128(m.id);
  out.u32(m.code);
  put_sentence(out, m.reason);
  return {};
}
void get(ByteReader& in, Abort& m) {
  m.id = in.bits128();
  m.code = in.u32();
  m.reason = get_sentence(in);
}

Bulk put(ByteWriter& out, const Digests& m) {
  out.u64(m.first_block);
  return m.bytes;
}
void get(ByteReader& in, Digests& m) {
  m.first_block = in.u64();
  m.bytes = in.rest();
}

Bulk put(ByteWriter& out, const DigestsEnd& m) { return out.bits128(m.root), Bulk{}; }
void get(ByteReader& in, DigestsEnd& m) { m.root = in.bits128(); }

Bulk put(ByteWriter& out, const BlockData& m) {
  out.u64(m.first_block);
  out.u32(m.block_count);
  return m.bytes;
}
void get(ByteReader& in, BlockData& m) {
  m.first_block = in.u64();
  m.block_count = in.u32();
  m.bytes = in.rest();
}

Bulk put(ByteWriter& out, const BlockZeroes& m) {
  out.u64(m.first_block);
  out.u64(m.block_count);
  return {};
}
void get(ByteReader& in, BlockZeroes& m) {
  m.first_block = in.u64();
  m.block_count = in.u64();
}

Bulk put(ByteWriter& out, const RoundEnd& m) {
  out.u32(m.round);
  out.u8(m.kind);
  out.bits128(m.root);
  return {};
}
void get(ByteReader& in, RoundEnd& m) {
  m.round = in.u32();
  m.kind = in.u8();
  m.root = in.bits128();
}

Bulk put(ByteWriter& out, const RoundAck& m) {
  out.u32(m.round);
  out.bits128(m.root);
  return {};
}
void get(ByteReader& in, RoundAck& m) {
  m.round = in.u32();
  m.root = in.bits128();
}

Bulk put(ByteWriter&, const LinkProbe& m) { return m.bytes; }
void get(ByteReader& in, LinkProbe& m) { m.bytes = in.rest(); }

Bulk put(ByteWriter&, const LinkProbeEnd&) { return {}; }
void get(ByteReader&, LinkProbeEnd&) {}

Bulk put(ByteWriter& out, const LinkProbeAck& m) {
  out.u64(m.bytes_received);
  return {};
}
void get(ByteReader& in, LinkProbeAck& m) { m.bytes_received = in.u64(); }

Bulk put(ByteWriter& out, const ImageChunk& m) {
  out.short_string(m.name);
  out.u64(m.offset);
  return m.bytes;
}
void get(ByteReader& in, ImageChunk& m) {
  m.name = in.short_string();
  m.offset = in.u64();
  m.bytes = in.rest();
}

Bulk put(ByteWriter& out, const Manifest& m) {
  out.u32(static_cast<std::uint32_t>(m.files.size()));
  for (const auto& file : m.files) {
    out.short_string(file.name);
    out.u64(file.bytes);
    out.bits128(file.digest);
  }
  return {};
}
void get(ByteReader& in, Manifest& m) {
  const std::uint32_t count = in.u32();
  // More entries than can fit are refused before room is made for them.
  require(count <= kManifestFilesMax && count <= kManifestBytesMax / kManifestEntryBytesMin, Errc::protocol_violation,
          "a Manifest announces more files than fit in it");
  for (std::uint32_t i = 0; i < count; ++i) {
    ManifestEntry file;
    file.name = in.short_string();
    file.bytes = in.u64();
    file.digest = in.bits128();
    m.files.push_back(std::move(file));
  }
}

Bulk put(ByteWriter& out, const Ready& m) {
  out.bits128(m.id);
  out.bits128(m.root);
  return {};
}
void get(ByteReader& in, Ready& m) {
  m.id = in.bits128();
  m.root = in.bits128();
}

Bulk put(ByteWriter& out, const Running& m) {
  out.bits128(m.id);
  out.u64(m.epoch);
  return {};
}
void get(ByteReader& in, Running& m) {
  m.id = in.bits128();
  m.epoch = in.u64();
}

Bulk put(ByteWriter& out, const Ask& m) {
  out.bits128(m.id);
  out.short_string(m.container);
  return {};
}
void get(ByteReader& in, Ask& m) {
  m.id = in.bits128();
  m.container = in.short_string();
}

/// Join, Go, Refused, Done and Wait: nothing but the migration they speak of.
template <typename T>
Bulk put(ByteWriter& out, const T& m) {
  out.bits128(m.id);
  return {};
}
template <typename T>
void get(ByteReader& in, T& m) {
  m.id = in.bits128();
}

template <std::size_t Index>
Message decode_as(std::span<const std::byte> payload) {
  std::variant_alternative_t<Index, Message> message;
  ByteReader reader(payload);
  get(reader, message);
  reader.expect_end();
  check(message, Errc::protocol_violation);
  return message;
}

template <std::size_t... Index>
Message decode_row(std::size_t row, std::span<const std::byte> payload, std::index_sequence<Index...>) {
  using Decoder = Message (*)(std::span<const std::byte>);
  static constexpr Decoder kDecoders[] = {&decode_as<Index>...};
  return kDecoders[row](payload);
}

}  // namespace

const std::span<const MessageSpec> kMessageSpecs(kSpecs);

std::uint8_t type_of(const Message& message) { return kSpecs[message.index()].type; }
std::string_view name_of(const Message& message) { return kSpecs[message.index()].name; }

const MessageSpec& spec_of(std::uint8_t type) {
  const auto row = std::ranges::find(kSpecs, type, &MessageSpec::type);
  if (row == kSpecs.end())
    throw Error(Errc::protocol_violation, "message type " + std::to_string(type) + " is not assigned");
  return *row;
}

std::span<const std::byte> encode_head(const Message& message, std::vector<std::byte>& out) {
  const std::size_t before = out.size();
  ByteWriter writer(out);
  const auto put_checked = [&](const auto& alternative) {
    check(alternative, Errc::internal);
    return put(writer, alternative);
  };
  const Bulk bulk = std::visit(put_checked, message);
  require(out.size() - before + bulk.size() <= kSpecs[message.index()].payload_bytes_max, Errc::internal,
          "a message to be sent is longer than docs/protocol.md allows");
  return bulk;
}

void encode(const Message& message, std::vector<std::byte>& out) {
  const Bulk bulk = encode_head(message, out);
  out.insert(out.end(), bulk.begin(), bulk.end());
}

Message decode(std::uint8_t type, std::span<const std::byte> payload) {
  const MessageSpec& spec = spec_of(type);
  require(payload.size() <= spec.payload_bytes_max, Errc::protocol_violation, "a message is longer than allowed");
  const auto row = static_cast<std::size_t>(&spec - kSpecs.data());
  return decode_row(row, payload, std::make_index_sequence<kSpecs.size()>());
}

}  // namespace vmigrate

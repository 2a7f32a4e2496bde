// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/fuzz/fuzz_seeds.h"

#include <algorithm>
#include <span>

#include "checkpoint/network.h"
#include "migrate/documents.h"
#include "migrate/inventory_text.h"
#include "migrate/journal_slots.h"
#include "migrate/rate_change.h"
#include "migrate/waybill.h"
#include "tests/support/message_samples.h"
#include "transport/frame.h"

namespace vmigrate::fuzz {
namespace {

using Content = std::vector<std::byte>;

Content operator+(Content left, std::span<const std::byte> right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Content bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Content front_half(Content bytes) {
  bytes.resize(bytes.size() / 2);
  return bytes;
}

// --- messages --------------------------------------------------------------------------------------------------------

Content payload_of(const Message& message) {
  Content payload;
  encode(message, payload);
  return payload;
}

Content framed(FrameHeader header, const Content& wire) {
  header.wire_bytes = static_cast<std::uint32_t>(wire.size());
  if (header.codec == Codec::none) header.plain_bytes = header.wire_bytes;
  Content frame(kFrameHeaderBytes);
  encode_header(header, std::span(frame).first<kFrameHeaderBytes>());
  return frame + wire;
}

/// One block of 0x5a, compressed: the example of docs/protocol.md.
Content packed_block_data() {
  return from_hex("222a0001005f010000005a0100fffffffffffffffffffffffffffffffff6505a5a5a5a5a");
}
constexpr std::uint32_t kBlockDataBytes = 12 + kWireBlockBytes;

void add_messages(std::vector<Seed>& seeds) {
  Content stream;
  for (const Message& message : message_samples()) {
    const std::string name(name_of(message));
    const Content payload = payload_of(message);
    const std::uint8_t type = type_of(message);
    seeds.push_back({"message", name, Content{std::byte{type}} + payload});
    const Content frame = framed({.type = type}, payload);
    seeds.push_back({"frame", name, frame});
    if (payload.size() < kWireBlockBytes) stream = stream + frame;
  }
  seeds.push_back({"message", "nothing", {}});
  seeds.push_back({"frame", "stream", stream});
  seeds.push_back({"frame", "stream-cut", front_half(stream)});
  const std::uint8_t block_data = type_of(Message(BlockData{}));
  const FrameHeader packed{.type = block_data, .codec = Codec::lz4, .plain_bytes = kBlockDataBytes};
  seeds.push_back({"frame", "packed", framed(packed, packed_block_data())});
}

// --- compressed payloads ---------------------------------------------------------------------------------------------

Content announcing(Codec codec, std::uint32_t plain_bytes, const Content& packed) {
  Content bytes{std::byte{static_cast<std::uint8_t>(codec)}};
  ByteWriter(bytes).u32(plain_bytes);
  return bytes + packed;
}

void add_compressed(std::vector<Seed>& seeds) {
  const auto add = [&seeds](const char* name, const Content& bytes) { seeds.push_back({"codec", name, bytes}); };
  add("packed", announcing(Codec::lz4, kBlockDataBytes, packed_block_data()));
  add("packed-cut", announcing(Codec::lz4, kBlockDataBytes, front_half(packed_block_data())));
  // A token, its literals; a match of 19 bytes that begins one byte back; five literals, as a block has to end.
  add("overlapping-match", announcing(Codec::lz4, 25, from_hex("1f610100" "00" "506263646566")));
  add("long-literals", announcing(Codec::lz4, 300, from_hex("f0ff1e") + Content(300, std::byte{0x37})));
  const std::string compressible = std::string(20, 'a') + "abcabcabcabc" + std::string(40, 'b');
  add("text", announcing(Codec::lz4, 0, bytes_of(compressible)));
  add("zstd-text", announcing(Codec::zstd, 0, bytes_of(compressible)));
  // The magic number; a single segment of 64 bytes; its last block: 64 times 0x5a.
  const Content repeated = from_hex("28b52ffd" "2040" "0302005a");
  add("zstd-packed", announcing(Codec::zstd, 64, repeated));
  add("zstd-cut", announcing(Codec::zstd, 64, front_half(repeated)));
  add("zstd-ancestor", announcing(Codec::zstd, 300, from_hex("27b52ffd" "60" "2c00" "80012c" "42" "c00000")));
  add("zstd-twice", announcing(Codec::zstd, 128, repeated + repeated));
}

// --- journals --------------------------------------------------------------------------------------------------------

Content slots_of(std::initializer_list<RecordType> types) {
  Content slots;
  Bits128 previous;
  std::uint64_t sequence = 0;
  for (const RecordType type : types) {
    const Record record{.type = type,
                        .sequence = ++sequence,
                        .migration = {7, 8},
                        .epoch = 3,
                        .image_root = {9, 10},
                        .unix_time = 1'700'000'000,
                        .peer = "beta (10.77.0.2:7700)"};
    const auto slot = encode_slot(record, previous);
    previous = checksum_in(slot);
    slots = slots + slot;
  }
  return slots;
}

void add_journals(std::vector<Seed>& seeds) {
  using enum RecordType;
  const Content source = slots_of({own, given, released});
  seeds.push_back({"journal", "empty", {}});
  seeds.push_back({"journal", "source", source});
  seeds.push_back({"journal", "source-took-it-back", slots_of({own, given, reclaimed})});
  seeds.push_back({"journal", "destination", slots_of({prepared, owned})});
  seeds.push_back({"journal", "destination-refused", slots_of({prepared, refused})});
  seeds.push_back({"journal", "torn", front_half(source)});
  Content damaged = source;
  damaged[300] ^= std::byte{1};
  seeds.push_back({"journal", "damaged", damaged});
}

// --- checkpoints -----------------------------------------------------------------------------------------------------

Content step(char letter, const Content& bytes) {
  Content whole{static_cast<std::byte>(letter)};
  ByteWriter(whole).u16(static_cast<std::uint16_t>(bytes.size()));
  return whole + bytes;
}

Content chunk(const std::string& name, std::uint64_t offset, std::string_view content) {
  return step('c', payload_of(ImageChunk{name, offset, std::as_bytes(std::span(content))}));
}

void add_images(std::vector<Seed>& seeds) {
  const Content two = chunk("core-1.img", 0, "registers") + chunk("pages-1.img", 0, "a page") +
                      chunk("pages-1.img", 100, "another");
  const Manifest wrong{{{"core-1.img", 9, {1, 2}}, {"pages-1.img", 107, {3, 4}}}};
  seeds.push_back({"image", "verified", two + step('v', {})});
  seeds.push_back({"image", "wrong-digests", two + step('m', payload_of(wrong))});
  seeds.push_back({"image", "empty-manifest", two + step('m', payload_of(Manifest{}))});
  seeds.push_back({"image", "damaged", two + step('d', {std::byte{1}, std::byte{3}}) +
                                           step('d', {std::byte{0}, std::byte{0x47}}) +
                                           step('d', {std::byte{0}, std::byte{0x82}}) +
                                           step('d', {std::byte{1}, std::byte{0xff}})});
  seeds.push_back({"image", "refused-chunks", chunk("dump.log", 0, "CRIU") + chunk("pages-1.img", 1 << 20, "far") +
                                                  chunk("empty.img", 0, "") + step('v', {})});
}

// --- documents -------------------------------------------------------------------------------------------------------

NetworkSpec network() {
  return {.namespace_name = "ct7",
          .interfaces = {{.name = "eth0",
                          .mac = "02:77:00:00:00:0a",
                          .mtu = 1400,
                          .addresses = {"10.77.0.10/24", "fd00::10/64"},
                          .host_name = "v-ct7",
                          .bridge = "br0"}},
          .routes = {"default via 10.77.0.1 dev eth0 metric 10", "::/0 via fd00::1 dev eth0 onlink"},
          .neighbours = {"10.77.0.1 lladdr 02:77:01:00:00:01 dev eth0 nud reachable"}};
}

HostFacts host() { return {"x86_64", "6.12.1", {"fpu", "avx2"}, "criu 4.2.1, runc 1.1.5"}; }

Offer offer() {
  return {.container = "ct7",
          .runtime = "runc",
          .config = R"({"ociVersion":"1.0.2"})",
          .network = network(),
          .file_system = "ext4",
          .volume_bytes = 1 << 30,
          .used_bytes = 1 << 20,
          .memory_bytes = 2 << 20,
          .checkpoint_bytes_max = 68 << 20,
          .epoch = 3,
          .is_dry_run = true,
          .options = {},
          .host = host()};
}

void add_document(std::vector<Seed>& seeds, const std::string& name, const std::string& json) {
  const Content bytes = bytes_of(name.substr(0, 1) + json);
  seeds.push_back({"documents", name, bytes});
  seeds.push_back({"documents", name + "-cut", front_half(bytes)});
}

void add_documents(std::vector<Seed>& seeds) {
  add_document(seeds, "offer", to_json(offer()));
  add_document(seeds, "answer", to_json(Answer{host(), "/var/lib/ct7.img", "10.0.0.2:7700", 0x12345678}));
  add_document(seeds, "request", to_json(Request{.container = "ct7", .peer = "beta:7701", .options = {}}));
  add_document(seeds, "network", to_json(network()));
  const Failure obstacle{Errc::rootfs_not_on_device, "it is a plain directory"};
  add_document(seeds, "inventory", to_json(Inventory{{{"ct7"}, {"ct8", obstacle}}, 2, true}));
  add_document(seeds, "tune", to_json(RateChange{"ct7", 1 << 20, 0}));
  const MountedDevice device{"/dev/loop3", "/srv/ct7", "ext4", "/var/lib/ct7.img"};
  add_document(seeds, "waybill",
               to_json(Waybill{Side::source, {7, 8}, "beta", "beta:7701", offer(), "/bundles/ct7", device}));
}

constexpr std::string_view kConfig = R"({
  "ociVersion": "1.0.2",
  "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh"], "cwd": "/"},
  "root": {"path": "rootfs", "readonly": false},
  "hostname": "ct7",
  "annotations": {"org.opencontainers.image.title": "redis"},
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
  "linux": {
    "cgroupsPath": "/containers/ct7",
    "resources": {"devices": [{"allow": false, "access": "rwm"},
                              {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]},
    "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "cgroup"},
                   {"type": "network", "path": "/run/netns/ct7"}],
    "devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}],
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    "rootfsPropagation": "private",
    "maskedPaths": ["/proc/kcore"]}})";

constexpr std::string_view kShortConfig =
    R"({"root":{"path":"r"},"linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"},)"
    R"({"type":"network"}]}})";

void add_configs(std::vector<Seed>& seeds) {
  seeds.push_back({"config", "full", bytes_of(kConfig)});
  seeds.push_back({"config", "short", bytes_of(kShortConfig)});
  seeds.push_back({"config", "cut", front_half(bytes_of(kConfig))});
  seeds.push_back({"config", "hooks", bytes_of(R"({"hooks":{"prestart":[{"path":"/bin/true"}]}})")});
}

}  // namespace

std::vector<Seed> all_seeds() {
  std::vector<Seed> seeds;
  add_messages(seeds);
  add_compressed(seeds);
  add_journals(seeds);
  add_images(seeds);
  add_documents(seeds);
  add_configs(seeds);
  return seeds;
}

}  // namespace vmigrate::fuzz

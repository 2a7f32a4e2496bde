// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/message.h"

#include <cstdlib>
#include <random>
#include <set>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/support/message_samples.h"
#include "transport/frame.h"

using namespace vmigrate;

namespace {

std::vector<std::byte> payload_of(const Message& message) {
  std::vector<std::byte> payload;
  encode(message, payload);
  return payload;
}

Errc refusal_of(std::uint8_t type, std::span<const std::byte> payload) {
  try {
    decode(type, payload);
  } catch (const Error& error) {
    return error.code_or(Errc::internal);
  }
  return Errc{};
}

/// The payload of a message we would never send.
template <typename Fill>
std::vector<std::byte> forged(Fill fill) {
  std::vector<std::byte> payload;
  ByteWriter writer(payload);
  fill(writer);
  return payload;
}

void put_name(ByteWriter& writer, std::string_view name) {
  writer.short_string(name);
  writer.u64(0);
}

bool accepts_name(std::string_view name) {
  const auto payload = forged([&](ByteWriter& writer) { put_name(writer, name); });
  return refusal_of(type_of(ImageChunk{}), payload) == Errc{};
}

std::uint64_t seed_from_environment() {
  const char* text = std::getenv("VMIGRATE_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

}  // namespace

TEST_CASE("every message survives the wire", "[transport][message]") {
  const auto samples = message_samples();
  REQUIRE(samples.size() == kMessageSpecs.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    INFO(name_of(samples[i]));
    REQUIRE(samples[i].index() == i);
    const auto payload = payload_of(samples[i]);
    const Message decoded = decode(type_of(samples[i]), payload);
    CHECK(decoded.index() == i);
    CHECK(payload_of(decoded) == payload);
    CHECK(payload.size() <= kMessageSpecs[i].payload_bytes_max);
  }
}

TEST_CASE("fields arrive in the fields they were sent in", "[transport][message]") {
  const auto payload = payload_of(Hello{1, 1, {7, 8}, "alpha", "vmigrate 0.1.0"});
  const auto hello = std::get<Hello>(decode(1, payload));
  CHECK(hello.host_id == Bits128{7, 8});
  CHECK(hello.host_name == "alpha");
  CHECK(hello.software == "vmigrate 0.1.0");
}

TEST_CASE("a message cut short at any byte is refused", "[transport][message]") {
  for (const Message& sample : message_samples()) {
    INFO(name_of(sample));
    const auto payload = payload_of(sample);
    for (std::size_t length = 0; length < payload.size(); ++length) {
      const bool has_fewer_digests =
          std::holds_alternative<Digests>(sample) && length >= 8 && (length - 8) % kWireDigestBytes == 0;
      const bool is_shorter_bulk = std::holds_alternative<LinkProbe>(sample) || has_fewer_digests ||
                                   (std::holds_alternative<ImageChunk>(sample) && length >= payload.size() - 100);
      if (is_shorter_bulk) continue;
      REQUIRE(refusal_of(type_of(sample), std::span(payload).first(length)) == Errc::protocol_violation);
    }
  }
}

TEST_CASE("a message with a byte too many is refused", "[transport][message]") {
  for (const Message& sample : message_samples()) {
    if (std::holds_alternative<LinkProbe>(sample) || std::holds_alternative<ImageChunk>(sample)) continue;
    INFO(name_of(sample));
    auto payload = payload_of(sample);
    payload.push_back(std::byte{});
    CHECK(refusal_of(type_of(sample), payload) == Errc::protocol_violation);
  }
}

TEST_CASE("type numbers are unique and zero is none", "[transport][message]") {
  std::set<std::uint8_t> seen;
  for (const MessageSpec& spec : kMessageSpecs) CHECK(seen.insert(spec.type).second);
  CHECK(seen.count(0) == 0);
  CHECK_THROWS_AS(spec_of(0), Error);
  CHECK_THROWS_AS(spec_of(255), Error);
}

TEST_CASE("the longest messages fit the bound of their row", "[transport][message]") {
  const std::string name(kNameBytesMax, 'n');
  const std::vector<std::byte> data(kDataBytesMax);
  for (const Message& longest :
       {Message(Hello{1, 1, {}, name, name}), Message(Open{{}, std::string(kJsonBytesMax, ' ')}),
        Message(BlockData{0, kDataBytesMax / kWireBlockBytes, data}), Message(ImageChunk{name, 0, data}),
        Message(LinkProbe{data}), Message(Digests{0, data})}) {
    INFO(name_of(longest));
    const auto payload = payload_of(longest);
    CHECK(payload.size() == spec_of(type_of(longest)).payload_bytes_max);
    CHECK_NOTHROW(decode(type_of(longest), payload));
  }
}

TEST_CASE("a reason is cut rather than a refusal lost", "[transport][message]") {
  const auto payload = payload_of(Refuse{1, std::string(100'000, 'x')});
  CHECK(std::get<Refuse>(decode(4, payload)).reason.size() == kSentenceBytesMax);
}

TEST_CASE("digests begin within what a volume can have, and end there", "[transport][message]") {
  const std::vector<std::byte> two(2 * kWireDigestBytes);
  CHECK_NOTHROW(payload_of(Digests{kBlocksMax - 2, two}));
  CHECK_NOTHROW(payload_of(Digests{kBlocksMax, {}}));
  CHECK_THROWS_AS(payload_of(Digests{kBlocksMax - 1, two}), Error);
  CHECK_THROWS_AS(payload_of(Digests{UINT64_MAX, {}}), Error);
}

TEST_CASE("block data carries exactly its blocks", "[transport][message]") {
  const auto with = [](std::uint64_t first, std::uint32_t count, std::size_t bytes) {
    return refusal_of(16, forged([&](ByteWriter& writer) {
                        writer.u64(first);
                        writer.u32(count);
                        writer.bytes(std::vector<std::byte>(bytes));
                      }));
  };
  CHECK(with(0, 1, 4096) == Errc{});
  CHECK(with(0, 1, 4095) == Errc::protocol_violation);
  CHECK(with(0, 2, 4096) == Errc::protocol_violation);
  CHECK(with(0, 0, 0) == Errc::protocol_violation);
  CHECK(with(0, 1 << 20, 0) == Errc::protocol_violation);  // 2^20 * 4096 is zero in 32 bits
  CHECK(with(UINT64_MAX, 1, 4096) == Errc::protocol_violation);
  CHECK(with(kBlocksMax - 1, 1, 4096) == Errc{});
  CHECK(with(kBlocksMax, 1, 4096) == Errc::protocol_violation);
}

TEST_CASE("a range of zero blocks does not wrap around", "[transport][message]") {
  const auto with = [](std::uint64_t first, std::uint64_t count) {
    return refusal_of(17, forged([&](ByteWriter& writer) {
                        writer.u64(first);
                        writer.u64(count);
                      }));
  };
  CHECK(with(0, kBlocksMax) == Errc{});
  CHECK(with(0, 0) == Errc::protocol_violation);
  CHECK(with(1, UINT64_MAX) == Errc::protocol_violation);
  CHECK(with(UINT64_MAX, 2) == Errc::protocol_violation);
  CHECK(with(kBlocksMax, 1) == Errc::protocol_violation);
}

TEST_CASE("a checkpoint file has a plain name", "[transport][message]") {
  for (const char* name : {"core-1.img", "a", "Z9_x.-", "pages-1.img"}) CHECK(accepts_name(name));
  for (const char* name : {"", ".", "..", ".hidden", "-rf", "_x", "a/b", "/etc/passwd", "a b", "a\n", "\xc3\xa4"})
    CHECK_FALSE(accepts_name(name));
  CHECK_FALSE(accepts_name(std::string_view("a\0b", 3)));
  CHECK(accepts_name(std::string(255, 'x')));
  CHECK_FALSE(accepts_name(std::string(256, 'x')));
}

TEST_CASE("a manifest lists each file once, in order", "[transport][message]") {
  const auto with = [](std::vector<std::string> names, std::uint32_t count) {
    return refusal_of(33, forged([&](ByteWriter& writer) {
                        writer.u32(count);
                        for (const auto& name : names) {
                          put_name(writer, name);
                          writer.bits128({});
                        }
                      }));
  };
  CHECK(with({}, 0) == Errc{});
  CHECK(with({"a", "b"}, 2) == Errc{});
  CHECK(with({"b", "a"}, 2) == Errc::protocol_violation);
  CHECK(with({"a", "a"}, 2) == Errc::protocol_violation);
  CHECK(with({"a"}, 2) == Errc::protocol_violation);
  CHECK(with({"a"}, UINT32_MAX) == Errc::protocol_violation);
  CHECK(with({"../a"}, 1) == Errc::protocol_violation);
}

TEST_CASE("a hello offers a version and printable names", "[transport][message]") {
  const auto with = [](std::uint16_t low, std::uint16_t high, std::string_view host) {
    return refusal_of(1, forged([&](ByteWriter& writer) {
                        writer.u16(low);
                        writer.u16(high);
                        writer.bits128({});
                        writer.short_string(host);
                        writer.short_string("x");
                      }));
  };
  CHECK(with(1, 7, "alpha") == Errc{});
  CHECK(with(0, 1, "alpha") == Errc::protocol_violation);
  CHECK(with(2, 1, "alpha") == Errc::protocol_violation);
  CHECK(with(1, 1, "al\npha") == Errc::protocol_violation);
  CHECK(with(1, 1, std::string(256, 'a')) == Errc::protocol_violation);
}

TEST_CASE("what may not be sent is noticed by the sender", "[transport][message]") {
  const auto failure = [](const Message& message) {
    try {
      payload_of(message);
    } catch (const Error& error) {
      return error.code_or(Errc::usage);
    }
    return Errc{};
  };
  CHECK(failure(ImageChunk{"../x", 0, {}}) == Errc::internal);
  CHECK(failure(Open{{}, std::string(kJsonBytesMax + 1, ' ')}) == Errc::internal);
  CHECK(failure(BlockData{0, 1, {}}) == Errc::internal);
}

TEST_CASE("random bytes never do more than be refused", "[transport][message][fuzz]") {
  const std::uint64_t seed = seed_from_environment();
  INFO("VMIGRATE_SEED=" << seed);
  std::mt19937_64 random(seed);
  const auto samples = message_samples();
  for (int i = 0; i < 200'000; ++i) {
    const Message& sample = samples[random() % samples.size()];
    auto payload = payload_of(sample);
    if (random() % 4 == 0) payload.assign(random() % 64, std::byte{});
    if (random() % 4 == 0 && !payload.empty()) payload.resize(random() % payload.size());
    for (std::size_t changes = random() % 8; changes > 0 && !payload.empty(); --changes)
      payload[random() % payload.size()] = static_cast<std::byte>(random());
    const Errc outcome = refusal_of(type_of(sample), payload);
    REQUIRE((outcome == Errc{} || outcome == Errc::protocol_violation));
  }
}

TEST_CASE("random frame headers never do more than be refused", "[transport][frame][fuzz]") {
  const std::uint64_t seed = seed_from_environment();
  INFO("VMIGRATE_SEED=" << seed);
  std::mt19937_64 random(seed);
  std::array<std::byte, kFrameHeaderBytes> header;
  for (int i = 0; i < 100'000; ++i) {
    for (std::byte& b : header) b = static_cast<std::byte>(random());
    CHECK_THROWS_AS(decode_header(header), Error);
  }
}

TEST_CASE("the limits before and after Hello leave room for what may come then", "[transport][message]") {
  for (const MessageSpec& spec : kMessageSpecs) CHECK(spec.payload_bytes_max <= kPayloadBytesMax);
  for (const Message& message : {Message(Hello{}), Message(Refuse{})})
    CHECK(spec_of(type_of(message)).payload_bytes_max <= kGreetingBytesMax);
  for (const Message& message : {Message(Open{}), Message(Pull{}), Message(Start{}), Message(Ask{})})
    CHECK(spec_of(type_of(message)).payload_bytes_max <= kRequestBytesMax);
}

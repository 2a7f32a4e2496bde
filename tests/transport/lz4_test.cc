// SPDX-License-Identifier: GPL-2.0-or-later
#include <random>
#include <vector>

#include "base/error.h"
#include "tests/catch.h"
#include "transport/compression_policy.h"
#include "transport/lz4_codec.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kMessageBytes = 1 << 20;

std::vector<std::byte> random_bytes(std::size_t size) {
  std::mt19937_64 random(1);
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

/// A link and a processor with fixed speeds, in bytes per second, and data of one ratio.
struct World {
  double link;
  double compressor;
  double ratio;
  bool has_buffers = true;   ///< so that compressing and sending overlap
  double seconds_spent = 0;

  static Duration seconds(double value) {
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value));
  }
  /// How much of `bytes` was tried to be compressed when the policy decides.
  std::uint64_t run(CompressionPolicy& policy, std::uint64_t bytes) {
    std::uint64_t tried = 0;
    for (std::uint64_t sent = 0; sent < bytes; sent += kMessageBytes) {
      SentMessage message{policy.wants_compression(), kMessageBytes, kMessageBytes, {}, {}};
      if (message.was_tried) {
        tried += kMessageBytes;
        message.wire_bytes = static_cast<std::uint64_t>(kMessageBytes * ratio);
        message.compress_time = seconds(kMessageBytes / compressor);
      }
      const Duration on_wire = seconds(static_cast<double>(message.wire_bytes) / link);
      message.total_time = has_buffers ? std::max(message.compress_time, on_wire) : message.compress_time + on_wire;
      policy.record(message);
      seconds_spent += std::chrono::duration<double>(message.total_time).count();
    }
    return tried;
  }
};

constexpr std::uint64_t kGiB = 1ULL << 30;

}  // namespace

TEST_CASE("what lz4 makes smaller comes back as it was", "[transport][lz4]") {
  std::vector<std::byte> plain(100'000, std::byte{7});
  std::vector<std::byte> packed(plain.size());
  const auto size = lz4_compress(plain, packed);
  REQUIRE(size);
  CHECK(*size < 2000);
  std::vector<std::byte> back(plain.size());
  lz4_expand(std::span(packed).first(*size), back);
  CHECK(back == plain);
}

TEST_CASE("what was compressed thoroughly is smaller, and expands as fast and to the same", "[transport][lz4]") {
  const auto words = random_bytes(4096);
  std::mt19937_64 random(2);
  std::vector<std::byte> plain;
  while (plain.size() < 1 << 20) {
    const auto* word = words.data() + random() % 4000;
    plain.insert(plain.end(), word, word + 8 + random() % 32);
  }
  std::vector<std::byte> fast(plain.size()), thorough(plain.size()), back(plain.size());
  fast.resize(*lz4_compress(plain, fast));
  thorough.resize(*lz4_compress(plain, thorough, Lz4Effort::thorough));
  CHECK(thorough.size() < fast.size());
  lz4_expand(thorough, back);
  CHECK(back == plain);
}

TEST_CASE("what lz4 does not make smaller is sent as it is", "[transport][lz4]") {
  const auto plain = random_bytes(100'000);
  std::vector<std::byte> packed(plain.size());
  CHECK_FALSE(lz4_compress(plain, packed));
}

TEST_CASE("a compressed message expands to the announced length or is refused", "[transport][lz4]") {
  const std::vector<std::byte> plain(100'000, std::byte{7});
  std::vector<std::byte> packed(plain.size());
  packed.resize(*lz4_compress(plain, packed));
  for (const std::size_t announced : {plain.size() - 1, plain.size() + 1, std::size_t{1}}) {
    std::vector<std::byte> into(announced);
    CHECK_THROWS_AS(lz4_expand(packed, into), Error);
  }
  std::vector<std::byte> into(plain.size());
  for (std::size_t length = 0; length < packed.size(); ++length)
    CHECK_THROWS_AS(lz4_expand(std::span(packed).first(length), into), Error);
}

TEST_CASE("random bytes given as lz4 are refused", "[transport][lz4][fuzz]") {
  const auto bytes = random_bytes(200'000);
  std::vector<std::byte> into(8192);
  for (std::size_t at = 0; at + 256 < bytes.size(); at += 64)
    CHECK_THROWS_AS(lz4_expand(std::span(bytes).subspan(at, 256), into), Error);
}

TEST_CASE("a slow link gets compression, and is never measured raw", "[transport][lz4]") {
  CompressionPolicy policy;
  CHECK(World{117e6, 700e6, 0.5}.run(policy, 4 * kGiB) == 4 * kGiB);
}

TEST_CASE("a fast link gets none, but for a rare probe", "[transport][lz4]") {
  CompressionPolicy policy;
  CHECK(World{1.2e9, 700e6, 0.5}.run(policy, 16 * kGiB) < 16 * kGiB / 256);
}

TEST_CASE("data that does not compress takes at most 2 % longer, on any link", "[transport][lz4]") {
  for (const double link : {12e6, 117e6, 300e6, 600e6, 1.2e9, 3e9}) {
    CompressionPolicy policy;
    World world{link, 2e9, 1.0};
    world.run(policy, 16 * kGiB);
    CAPTURE(link, world.seconds_spent);
    CHECK(world.seconds_spent < 1.02 * 16 * static_cast<double>(kGiB) / link);
  }
}

TEST_CASE("nor where the processor both compresses and encrypts", "[transport][lz4]") {
  for (const double link : {300e6, 600e6, 1.2e9, 3e9}) {
    CompressionPolicy policy;
    World world{link, 2e9, 1.0, false};
    world.run(policy, 16 * kGiB);
    CAPTURE(link, world.seconds_spent);
    CHECK(world.seconds_spent < 1.02 * 16 * static_cast<double>(kGiB) / link);
  }
}

TEST_CASE("on a slow link nothing that compresses is missed among what does not", "[transport][lz4]") {
  CompressionPolicy policy;
  World dull{117e6, 2e9, 1.0};
  World hopeful{117e6, 700e6, 0.5};
  std::uint64_t tried = 0;
  for (int file = 0; file < 24; ++file) {
    dull.run(policy, 64 << 20);
    tried += hopeful.run(policy, 40 << 20);
  }
  CHECK(tried > 24ULL * (40 << 20) * 9 / 10);
}

TEST_CASE("the compressor is thorough only where the link is so slow that it has the time", "[transport][lz4]") {
  const auto effort_after = [](World world) {
    CompressionPolicy policy;
    world.run(policy, kGiB);
    return policy.effort();
  };
  CHECK(effort_after({12e6, 700e6, 0.5}) == Lz4Effort::thorough);
  CHECK(effort_after({117e6, 700e6, 0.5}) == Lz4Effort::fast);
  CHECK(effort_after({12e6, 700e6, 1.0}) == Lz4Effort::fast);   // nothing to win
  CHECK(effort_after({12e6, 15e6, 0.5}) == Lz4Effort::fast);    // a busy processor
}

TEST_CASE("a link that becomes slow is known as such within a second", "[transport][lz4]") {
  CompressionPolicy policy;
  World{3e9, 700e6, 0.5}.run(policy, CompressionPolicy::kProbeEveryBytesMin);
  REQUIRE_FALSE(policy.wants_compression());
  World slow{12e6, 700e6, 0.5};
  while (!policy.wants_compression()) slow.run(policy, kMessageBytes);
  CHECK(slow.seconds_spent < 1);
}

TEST_CASE("the choice follows a link that changes", "[transport][lz4]") {
  CompressionPolicy policy;
  World{1.2e9, 700e6, 0.5}.run(policy, kGiB);
  CHECK_FALSE(policy.wants_compression());
  const std::uint64_t after_slowing = World{50e6, 700e6, 0.5}.run(policy, 4 * kGiB);
  CHECK(after_slowing > kGiB * 5 / 2);
  const std::uint64_t after_speeding = World{1.2e9, 700e6, 0.5}.run(policy, 16 * kGiB);
  CHECK(after_speeding < 5 * kGiB);
}

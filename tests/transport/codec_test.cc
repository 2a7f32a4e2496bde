// SPDX-License-Identifier: GPL-2.0-or-later
#include <random>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "tests/catch.h"
#include "transport/codec.h"
#include "transport/compression_policy.h"

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

/// Bytes that repeat in pieces, as those of programs do.
std::vector<std::byte> words(std::size_t size) {
  const auto dictionary = random_bytes(4096);
  std::mt19937_64 random(2);
  std::vector<std::byte> bytes;
  while (bytes.size() < size) {
    const auto* word = dictionary.data() + random() % 4000;
    bytes.insert(bytes.end(), word, word + 8 + random() % 32);
  }
  return bytes;
}

std::vector<std::byte> packed_with(Codec codec, std::span<const std::byte> plain) {
  std::vector<std::byte> packed(plain.size());
  packed.resize(Compressor().compress(codec, plain, packed).value());
  return packed;
}

std::vector<std::byte> expanded(Codec codec, std::span<const std::byte> packed, std::size_t plain_bytes) {
  std::vector<std::byte> plain(plain_bytes);
  Expander().expand(codec, packed, plain);
  return plain;
}

bool wants_compression(const CompressionPolicy& policy) { return policy.codec() != Codec::none; }

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
      SentMessage message{wants_compression(policy), kMessageBytes, kMessageBytes, {}, {}};
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

TEST_CASE("what a codec makes smaller comes back as it was", "[transport][codec]") {
  for (const Codec codec : {Codec::lz4, Codec::zstd}) {
    CAPTURE(static_cast<int>(codec));
    const std::vector<std::byte> plain(100'000, std::byte{7});
    const auto packed = packed_with(codec, plain);
    CHECK(packed.size() < 2000);
    CHECK(expanded(codec, packed, plain.size()) == plain);
  }
}

TEST_CASE("one compressor and one expander serve one message after the other", "[transport][codec]") {
  Compressor compressor;
  Expander expander;
  for (std::size_t message = 1; message <= 20; ++message) {
    const auto plain = words(message * 50'000);
    const Codec codec = message % 3 == 0 ? Codec::lz4 : Codec::zstd;
    std::vector<std::byte> packed(plain.size()), back(plain.size());
    packed.resize(compressor.compress(codec, plain, packed).value());
    expander.expand(codec, packed, back);
    CHECK(back == plain);
  }
}

TEST_CASE("zstd makes less of it than lz4", "[transport][codec]") {
  const auto plain = words(1 << 20);
  CHECK(packed_with(Codec::zstd, plain).size() < packed_with(Codec::lz4, plain).size() * 9 / 10);
}

TEST_CASE("what a codec does not make smaller is sent as it is", "[transport][codec]") {
  const auto plain = random_bytes(100'000);
  std::vector<std::byte> packed(plain.size());
  CHECK_FALSE(Compressor().compress(Codec::lz4, plain, packed));
  CHECK_FALSE(Compressor().compress(Codec::zstd, plain, packed));
}

TEST_CASE("a compressed message expands to the announced length or is refused", "[transport][codec]") {
  for (const Codec codec : {Codec::lz4, Codec::zstd}) {
    CAPTURE(static_cast<int>(codec));
    const std::vector<std::byte> plain(100'000, std::byte{7});
    const auto packed = packed_with(codec, plain);
    for (const std::size_t announced : {plain.size() - 1, plain.size() + 1, std::size_t{1}})
      CHECK_THROWS_AS(expanded(codec, packed, announced), Error);
    for (std::size_t length = 0; length < packed.size(); ++length)
      CHECK_THROWS_AS(expanded(codec, std::span(packed).first(length), plain.size()), Error);
  }
}

TEST_CASE("a payload is one zstd frame, and no more", "[transport][codec]") {
  const std::vector<std::byte> plain(100'000, std::byte{7});
  auto packed = packed_with(Codec::zstd, plain);
  const std::size_t one = packed.size();
  packed.insert(packed.end(), packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(one));
  CHECK_THROWS_AS(expanded(Codec::zstd, packed, 2 * plain.size()), Error);
}

TEST_CASE("frames of zstd's ancestors are refused, whatever the library can read", "[transport][codec]") {
  // Version 0.7: 300 bytes, as one that repeats.
  const auto packed = from_hex("27b52ffd" "60" "2c00" "80012c" "42" "c00000");
  CHECK_THROWS_AS(expanded(Codec::zstd, packed, 300), Error);
}

TEST_CASE("random bytes given as compressed ones are refused", "[transport][codec][fuzz]") {
  const auto bytes = random_bytes(200'000);
  for (std::size_t at = 0; at + 256 < bytes.size(); at += 64)
    for (const Codec codec : {Codec::lz4, Codec::zstd})
      CHECK_THROWS_AS(expanded(codec, std::span(bytes).subspan(at, 256), 8192), Error);
}

TEST_CASE("a slow link gets compression, and is never measured raw", "[transport][codec]") {
  CompressionPolicy policy;
  CHECK(World{117e6, 700e6, 0.5}.run(policy, 4 * kGiB) == 4 * kGiB);
}

TEST_CASE("a fast link gets none after the first look", "[transport][codec]") {
  CompressionPolicy policy;
  CHECK(World{1.2e9, 700e6, 0.5}.run(policy, 16 * kGiB) <= CompressionPolicy::kFirstBytes);
}

TEST_CASE("nor does one of 250 MB/s, though it would carry more compressed", "[transport][codec]") {
  CompressionPolicy policy;   // it may as well be the processors that the streams wait for
  CHECK(World{250e6, 700e6, 0.7}.run(policy, 16 * kGiB) <= CompressionPolicy::kFirstBytes);
}

TEST_CASE("streams that are more than the processors are slow below less", "[transport][codec]") {
  CompressionPolicy on_busy_processors(4, 2), on_a_gigabit(4, 2), on_idle_ones(4, 8);
  CHECK(World{100e6, 700e6, 0.5}.run(on_busy_processors, 16 * kGiB) <= CompressionPolicy::kFirstBytes);
  CHECK(World{29e6, 700e6, 0.5}.run(on_a_gigabit, kGiB) == kGiB);
  CHECK(World{100e6, 700e6, 0.5}.run(on_idle_ones, kGiB) == kGiB);
}

TEST_CASE("a thread that waits for its turn now and then has no slow link", "[transport][codec]") {
  CompressionPolicy policy;
  World quick{270e6, 700e6, 0.5};
  World waiting{20e6, 700e6, 0.5};   // a message takes 50 ms
  std::uint64_t tried = 0;
  for (int turn = 0; turn < 200; ++turn) tried += quick.run(policy, 24 << 20) + waiting.run(policy, kMessageBytes);
  CHECK(tried <= CompressionPolicy::kFirstBytes);
}

TEST_CASE("data that does not compress takes at most 2 % longer, on any link", "[transport][codec]") {
  for (const double link : {12e6, 117e6, 300e6, 600e6, 1.2e9, 3e9}) {
    CompressionPolicy policy;
    World world{link, 2e9, 1.0};
    world.run(policy, 16 * kGiB);
    CAPTURE(link, world.seconds_spent);
    CHECK(world.seconds_spent < 1.02 * 16 * static_cast<double>(kGiB) / link);
  }
}

TEST_CASE("nor where the processor both compresses and encrypts", "[transport][codec]") {
  for (const double link : {300e6, 600e6, 1.2e9, 3e9}) {
    CompressionPolicy policy;
    World world{link, 2e9, 1.0, false};
    world.run(policy, 16 * kGiB);
    CAPTURE(link, world.seconds_spent);
    CHECK(world.seconds_spent < 1.02 * 16 * static_cast<double>(kGiB) / link);
  }
}

TEST_CASE("on a slow link nothing that compresses is missed among what does not", "[transport][codec]") {
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

TEST_CASE("zstd is for links that are what a stream waits for", "[transport][codec]") {
  const auto codec_after = [](World world) {
    CompressionPolicy policy;
    world.run(policy, kGiB);
    // It may just have been looking at how fast the link is.
    if (!wants_compression(policy)) world.run(policy, 256 << 20);
    return policy.codec();
  };
  CHECK(codec_after({12e6, 300e6, 0.5}) == Codec::zstd);
  CHECK(codec_after({60e6, 300e6, 0.5}) == Codec::zstd);
  CHECK(codec_after({1.2e9, 300e6, 0.5}) != Codec::zstd);
  CHECK(codec_after({12e6, 15e6, 0.5}) == Codec::lz4);    // a busy processor
}

TEST_CASE("a link that becomes slow is known as such within a second", "[transport][codec]") {
  CompressionPolicy policy;
  World{3e9, 700e6, 0.5}.run(policy, 64 << 20);
  REQUIRE_FALSE(wants_compression(policy));
  World slow{12e6, 700e6, 0.5};
  while (!wants_compression(policy)) slow.run(policy, kMessageBytes);
  CHECK(slow.seconds_spent < 1);
}

TEST_CASE("the choice follows a link that changes", "[transport][codec]") {
  CompressionPolicy policy;
  World{1.2e9, 700e6, 0.5}.run(policy, kGiB);
  CHECK_FALSE(wants_compression(policy));
  const std::uint64_t after_slowing = World{50e6, 700e6, 0.5}.run(policy, 4 * kGiB);
  CHECK(after_slowing > kGiB * 5 / 2);
  const std::uint64_t after_speeding = World{1.2e9, 700e6, 0.5}.run(policy, 16 * kGiB);
  CHECK(after_speeding < 5 * kGiB);
}

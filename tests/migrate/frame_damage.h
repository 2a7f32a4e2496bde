// SPDX-License-Identifier: GPL-2.0-or-later
// One thing that goes wrong with one frame between two sessions, after TLS. The same seed always chooses the same.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "tests/support/memory_channel.h"

namespace vmigrate {

class FrameDamage {
 public:
  using Frame = MemoryLink::Frame;
  enum class Kind {
    payload_bit,    ///< flipped
    header_bit,     ///< flipped
    header_field,   ///< a bit flipped, and the checksum put right
    payload_bytes,  ///< up to eight overwritten
    cut_off,        ///< the end of the frame is missing, and the stream goes on
    shortened,      ///< the end of the payload is missing, and the header says so
    repeated,
    swapped,        ///< with the next frame in this direction
    dropped,
    inserted,       ///< bytes that nobody sent, before the frame
  };
  static constexpr std::array kKinds = {Kind::payload_bit, Kind::header_bit, Kind::header_field, Kind::payload_bytes,
                                        Kind::cut_off,     Kind::shortened,  Kind::repeated,     Kind::swapped,
                                        Kind::dropped,     Kind::inserted};
  static const char* name_of(Kind kind) {
    constexpr std::array kNames = {"a bit of a payload flipped",
                                   "a bit of a header flipped",
                                   "a bit of a header flipped, its checksum put right",
                                   "bytes of a payload overwritten",
                                   "the end of a frame cut off",
                                   "a payload shortened, its header put right",
                                   "a frame repeated",
                                   "two frames swapped",
                                   "a frame dropped",
                                   "bytes inserted before a frame"};
    return kNames.at(static_cast<std::size_t>(kind));
  }

  /// How many messages each side sends.
  using Counts = std::array<std::size_t, 2>;

  /// Of the messages that travel over each link in a good session one is chosen.
  FrameDamage(std::uint64_t seed, std::span<const Counts> links) : random_(seed) {
    kind_ = kKinds.at(below(kKinds.size()));
    std::size_t messages = 0;
    for (const Counts& counts : links) messages += counts[0] + counts[1];
    at_ = below(messages);
    while (at_ >= links[link_][side_]) {
      at_ -= links[link_][side_];
      link_ += side_;
      side_ = 1 - side_;
    }
  }
  /// Which of the links it is for.
  std::size_t link() const { return link_; }
  /// Whose message it is.
  std::size_t side() const { return side_; }

  std::vector<Frame> operator()(std::size_t side, Frame frame) {
    if (side != side_) return {std::move(frame)};
    if (held_back_) return {std::move(frame), *std::exchange(held_back_, std::nullopt)};
    if (seen_++ != at_) return {std::move(frame)};
    victim_ = spec_of(std::to_integer<std::uint8_t>(frame.at(kTypeAt))).name;
    return damaged(std::move(frame));
  }

  Kind kind() const { return kind_; }
  /// The message that it hit; empty if the session ended before.
  const std::string& victim() const { return victim_; }
  /// False where the bytes came out as they were.
  bool has_changed_something() const { return has_changed_something_; }
  std::string name() const { return name_of(kind_); }
  std::string description() const { return victim_ + ": " + name() + detail_; }

 private:
  static constexpr std::size_t kTypeAt = 2;
  static constexpr std::size_t kLengthsAt = 4;
  static constexpr std::size_t kChecksumAt = 12;

  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }

  void flip_bit(Frame& frame, std::size_t from, std::size_t end) {
    if (from == end) return;
    const std::size_t at = from + below(end - from);
    const std::size_t bit = below(8);
    frame[at] ^= static_cast<std::byte>(1U << bit);
    detail_ = " " + std::to_string(bit) + " of byte " + std::to_string(at);
  }

  static void put(Frame& frame, std::size_t at, std::uint32_t value) {
    std::vector<std::byte> bytes;
    ByteWriter(bytes).u32(value);
    std::copy(bytes.begin(), bytes.end(), frame.begin() + static_cast<std::ptrdiff_t>(at));
  }
  static void put_checksum_right(Frame& frame) {
    put(frame, kChecksumAt, crc32c(std::span<const std::byte>(frame).first(kChecksumAt)));
  }

  void overwrite(Frame& frame) {
    const std::size_t payload_bytes = frame.size() - kFrameHeaderBytes;
    if (payload_bytes == 0) return;
    const std::size_t first = kFrameHeaderBytes + below(payload_bytes);
    const std::size_t end = std::min(frame.size(), first + 1 + below(8));
    for (std::size_t at = first; at < end; ++at) frame[at] = static_cast<std::byte>(below(256));
    detail_ = " " + std::to_string(first) + " to " + std::to_string(end - 1);
  }

  void shorten(Frame& frame) {
    const std::size_t payload_bytes = frame.size() - kFrameHeaderBytes;
    if (payload_bytes == 0) return;
    frame.resize(kFrameHeaderBytes + below(payload_bytes));
    const auto length = static_cast<std::uint32_t>(frame.size() - kFrameHeaderBytes);
    const bool is_packed = frame[kTypeAt + 1] != std::byte{0};
    put(frame, kLengthsAt, length);
    if (!is_packed) put(frame, kLengthsAt + 4, length);
    put_checksum_right(frame);
    detail_ = " to " + std::to_string(length) + " bytes";
  }

  Frame junk() {
    Frame bytes(1 + below(40));
    for (std::byte& b : bytes) b = static_cast<std::byte>(below(256));
    return bytes;
  }

  std::vector<Frame> damaged(Frame frame) {
    const Frame before = frame;
    switch (kind_) {
      case Kind::payload_bit: flip_bit(frame, kFrameHeaderBytes, frame.size()); break;
      case Kind::header_bit: flip_bit(frame, 0, kFrameHeaderBytes); break;
      case Kind::header_field: flip_bit(frame, 0, kChecksumAt), put_checksum_right(frame); break;
      case Kind::payload_bytes: overwrite(frame); break;
      case Kind::cut_off: frame.resize(below(frame.size())); break;
      case Kind::shortened: shorten(frame); break;
      case Kind::repeated: has_changed_something_ = true; return {frame, frame};
      case Kind::swapped: has_changed_something_ = true; held_back_ = std::move(frame); return {};
      case Kind::dropped: has_changed_something_ = true; return {};
      case Kind::inserted: has_changed_something_ = true; return {junk(), frame};
    }
    has_changed_something_ = frame != before;
    return {std::move(frame)};
  }

  std::mt19937_64 random_;
  Kind kind_{};
  std::size_t link_ = 0;
  std::size_t side_ = 0;
  std::size_t at_ = 0;
  std::size_t seen_ = 0;
  std::optional<Frame> held_back_;
  std::string victim_;
  std::string detail_;
  bool has_changed_something_ = false;
};

}  // namespace vmigrate

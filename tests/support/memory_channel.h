// SPDX-License-Identifier: GPL-2.0-or-later
// Two Channels joined by bounded queues in memory. Every message is really encoded, framed and decoded; the reader sees
// one stream of bytes, in which a frame that was cut makes it lose its place.
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/assert.h"
#include "transport/channel.h"
#include "transport/codec.h"
#include "transport/frame.h"

namespace vmigrate {

/// The link between two memory channels. Both ends and the test share it; all on one executor.
class MemoryLink {
 public:
  struct Options {
    std::size_t queue_messages_max = 4;
    Duration idle_timeout = std::chrono::seconds(30);
  };

  /// A header and its payload, as they travel.
  using Frame = std::vector<std::byte>;
  /// What arrives when side 0 or 1 sends `frame`: usually just that.
  using Transit = std::function<std::vector<Frame>(std::size_t side, Frame frame)>;

  MemoryLink(asio::any_io_executor executor, Options options)
      : options_(options), directions_{Direction(executor), Direction(executor)} {}

  /// Both ends see connection_lost; what is in the queues is gone, as after a power cut.
  void cut() noexcept {
    for (Direction& direction : directions_) {
      direction.frames.clear();
      direction.bytes_taken = 0;
      direction.is_open = false;
      direction.changed.cancel();
    }
  }
  /// cut() as soon as `messages` more were handed over, counted over both directions. The last of them is lost.
  void cut_after(std::size_t messages) { messages_until_cut_ = messages; }
  std::size_t messages_sent() const { return messages_sent_; }
  void in_transit(Transit transit) { transit_ = std::move(transit); }

 private:
  friend class MemoryChannel;
  struct Direction {
    explicit Direction(const asio::any_io_executor& executor) : changed(executor) {
      changed.expires_at(asio::steady_timer::time_point::max());
    }
    std::deque<Frame> frames;
    std::size_t bytes_taken = 0;  // of the first frame
    bool is_open = true;
    bool is_hung_up = false;      // by a close(), not by a cut
    asio::steady_timer changed;  // never expires; cancelled to say "look again"
  };

  void push(std::size_t side, Frame frame) {
    ++messages_sent_;
    Direction& direction = directions_[side];
    if (transit_) {
      for (Frame& arriving : transit_(side, std::move(frame)))
        if (!arriving.empty()) direction.frames.push_back(std::move(arriving));
    } else {
      direction.frames.push_back(std::move(frame));
    }
    direction.changed.cancel();
    if (messages_until_cut_ && --*messages_until_cut_ == 0) cut();
  }

  Options options_;
  std::array<Direction, 2> directions_;
  Transit transit_;
  std::optional<std::size_t> messages_until_cut_;
  std::size_t messages_sent_ = 0;
};

class MemoryChannel final : public Channel {
 public:
  /// `side` 0 or 1. `clock` measures the idle timeout and must outlive the channel.
  MemoryChannel(std::shared_ptr<MemoryLink> link, std::size_t side, Clock& clock, std::string peer_name)
      : link_(std::move(link)),
        side_(side),
        out_(link_->directions_[side]),
        in_(link_->directions_[1 - side]),
        clock_(clock),
        peer_name_(std::move(peer_name)),
        certified_names_{peer_name_.substr(0, peer_name_.find(' '))},
        idle_timeout_(link_->options_.idle_timeout) {}
  ~MemoryChannel() override { close(); }

  Task<> send(const Message& message) override {
    const TimePoint deadline = clock_.now() + idle_timeout_;
    while (out_.is_open && out_.frames.size() >= link_->options_.queue_messages_max)
      co_await wait(out_, deadline, "took");
    if (!out_.is_open) throw_lost();
    MemoryLink::Frame frame = framed(message);
    bytes_sent_ += frame.size();
    link_->push(side_, std::move(frame));
  }

  Task<Message> receive() override {
    if (has_lost_its_place_) throw_lost();
    const TimePoint deadline = clock_.now() + idle_timeout_;
    co_await wait_for_bytes(deadline);
    has_lost_its_place_ = true;
    const std::span<std::byte> head(head_);
    co_await read(head, deadline);
    const FrameHeader header = decode_header(head_);
    if (header.plain_bytes > payload_limit_) throw Error(Errc::protocol_violation, peer_name_ + " says too much");
    wire_.resize(header.wire_bytes);
    const std::span<std::byte> wire(wire_);
    co_await read(wire, deadline);
    const bool is_packed = header.codec != Codec::none;
    if (is_packed) {
      plain_.resize(header.plain_bytes);
      expander_.expand(header.codec, wire_, plain_);
    }
    Message message = decode(header.type, is_packed ? plain_ : wire_);
    has_lost_its_place_ = false;
    co_return message;
  }

  void set_idle_timeout(Duration timeout) override { idle_timeout_ = timeout; }
  void set_payload_limit(std::uint32_t bytes_max) override { payload_limit_ = bytes_max; }
  /// Only lz4 compresses: what pays is nothing that a simulation can measure.
  void set_compression(Compression compression, std::size_t) override { compression_ = compression; }
  void note_pause(Duration) override {}
  /// What was sent before still reaches the peer.
  void close() noexcept override {
    is_closed_ = true;
    for (MemoryLink::Direction* direction : {&out_, &in_}) {
      direction->is_hung_up = direction->is_hung_up || direction->is_open;
      direction->is_open = false;
      direction->changed.cancel();
    }
  }
  const std::string& peer_name() const override { return peer_name_; }
  const std::vector<std::string>& certified_names() const override { return certified_names_; }
  std::uint64_t bytes_sent() const override { return bytes_sent_; }

 private:
  MemoryLink::Frame framed(const Message& message) const {
    MemoryLink::Frame frame(kFrameHeaderBytes);
    encode(message, frame);
    const auto length = static_cast<std::uint32_t>(frame.size() - kFrameHeaderBytes);
    FrameHeader header{type_of(message), Codec::none, length, length};
    if (compression_ == Compression::lz4) pack(header, frame);
    encode_header(header, std::span(frame).first<kFrameHeaderBytes>());
    return frame;
  }

  static void pack(FrameHeader& header, MemoryLink::Frame& frame) {
    const std::span<const std::byte> plain = std::span(frame).subspan(kFrameHeaderBytes);
    std::vector<std::byte> packed(plain.size());
    const auto packed_bytes = Compressor().compress(Codec::lz4, plain, packed);
    if (!packed_bytes) return;
    header.codec = Codec::lz4;
    header.wire_bytes = static_cast<std::uint32_t>(*packed_bytes);
    frame.resize(kFrameHeaderBytes);
    frame.insert(frame.end(), packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(*packed_bytes));
  }

  Task<> wait_for_bytes(TimePoint deadline) {
    while (!is_closed_ && in_.is_open && in_.frames.empty()) co_await wait(in_, deadline, "said");
    if (!is_closed_ && in_.frames.empty() && in_.is_hung_up) throw HangUp("the connection to " + peer_name_ + " ended");
    if (is_closed_ || in_.frames.empty()) throw_lost();
  }

  /// Fills `into`, from as many frames as it takes.
  Task<> read(std::span<std::byte> into, TimePoint deadline) {
    while (!into.empty()) {
      co_await wait_for_bytes(deadline);
      const auto rest = std::span<const std::byte>(in_.frames.front()).subspan(in_.bytes_taken);
      const std::size_t count = std::min(rest.size(), into.size());
      std::copy_n(rest.begin(), count, into.begin());
      into = into.subspan(count);
      in_.bytes_taken += count;
      if (count < rest.size()) continue;
      in_.frames.pop_front();
      in_.bytes_taken = 0;
      in_.changed.cancel();
    }
  }

  Task<> wait(MemoryLink::Direction& direction, TimePoint deadline, const char* verb) {
    using namespace asio::experimental::awaitable_operators;
    if (clock_.now() >= deadline) throw Error(Errc::timed_out, peer_name_ + " " + verb + " nothing in time");
    const auto link = link_;  // keeps `direction` while we wait
    co_await (direction.changed.async_wait(asio::as_tuple(asio::use_awaitable)) || clock_.sleep_until(deadline));
  }

  [[noreturn]] void throw_lost() const {
    throw Error(Errc::connection_lost, "the connection to " + peer_name_ + " is closed");
  }

  std::shared_ptr<MemoryLink> link_;
  std::size_t side_;
  MemoryLink::Direction& out_;
  MemoryLink::Direction& in_;
  Clock& clock_;
  std::string peer_name_;
  std::vector<std::string> certified_names_;   // the part of peer_name before the first blank
  Duration idle_timeout_;
  std::uint32_t payload_limit_ = kPayloadBytesMax;
  std::uint64_t bytes_sent_ = 0;
  Compression compression_ = Compression::automatic;
  std::array<std::byte, kFrameHeaderBytes> head_{};
  std::vector<std::byte> wire_;
  std::vector<std::byte> plain_;
  Expander expander_;
  bool has_lost_its_place_ = false;
  bool is_closed_ = false;
};

struct MemoryChannelPair {
  std::shared_ptr<MemoryLink> link;
  std::unique_ptr<MemoryChannel> first;
  std::unique_ptr<MemoryChannel> second;
};

/// `first` talks with "beta", `second` with "alpha".
inline MemoryChannelPair make_memory_channels(asio::any_io_executor executor, Clock& clock,
                                              MemoryLink::Options options = {}) {
  auto link = std::make_shared<MemoryLink>(executor, options);
  return {link, std::make_unique<MemoryChannel>(link, 0, clock, "beta (memory)"),
          std::make_unique<MemoryChannel>(link, 1, clock, "alpha (memory)")};
}

}  // namespace vmigrate

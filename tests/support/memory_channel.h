// SPDX-License-Identifier: GPL-2.0-or-later
// Two Channels joined by bounded queues in memory. Every message is really encoded, framed and decoded.
#pragma once

#include <array>
#include <deque>
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
#include "transport/frame.h"

namespace vmigrate {

/// The link between two memory channels. Both ends and the test share it; all on one executor.
class MemoryLink {
 public:
  struct Options {
    std::size_t queue_messages_max = 4;
    Duration idle_timeout = std::chrono::seconds(30);
  };

  MemoryLink(asio::any_io_executor executor, Options options)
      : options_(options), directions_{Direction(executor), Direction(executor)} {}

  /// Both ends see connection_lost; what is in the queues is gone, as after a power cut.
  void cut() noexcept {
    for (Direction& direction : directions_) {
      direction.frames.clear();
      direction.is_open = false;
      direction.changed.cancel();
    }
  }
  /// cut() as soon as `messages` more were handed over, counted over both directions. The last of them is lost.
  void cut_after(std::size_t messages) { messages_until_cut_ = messages; }
  std::size_t messages_sent() const { return messages_sent_; }

 private:
  friend class MemoryChannel;
  using Frame = std::vector<std::byte>;
  struct Direction {
    explicit Direction(const asio::any_io_executor& executor) : changed(executor) {
      changed.expires_at(asio::steady_timer::time_point::max());
    }
    std::deque<Frame> frames;
    bool is_open = true;
    asio::steady_timer changed;  // never expires; cancelled to say "look again"
  };

  void push(Direction& direction, Frame frame) {
    ++messages_sent_;
    direction.frames.push_back(std::move(frame));
    direction.changed.cancel();
    if (messages_until_cut_ && --*messages_until_cut_ == 0) cut();
  }

  Options options_;
  std::array<Direction, 2> directions_;
  std::optional<std::size_t> messages_until_cut_;
  std::size_t messages_sent_ = 0;
};

class MemoryChannel final : public Channel {
 public:
  /// `side` 0 or 1. `clock` measures the idle timeout and must outlive the channel.
  MemoryChannel(std::shared_ptr<MemoryLink> link, std::size_t side, Clock& clock, std::string peer_name)
      : link_(std::move(link)),
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
    link_->push(out_, std::move(frame));
  }

  Task<Message> receive() override {
    const TimePoint deadline = clock_.now() + idle_timeout_;
    while (!is_closed_ && in_.is_open && in_.frames.empty()) co_await wait(in_, deadline, "said");
    if (is_closed_ || in_.frames.empty()) throw_lost();
    received_ = std::move(in_.frames.front());
    in_.frames.pop_front();
    in_.changed.cancel();
    const std::span<const std::byte> frame(received_);
    const FrameHeader header = decode_header(frame.first<kFrameHeaderBytes>());
    if (header.plain_bytes > payload_limit_) throw Error(Errc::protocol_violation, peer_name_ + " says too much");
    co_return decode(header.type, frame.subspan(kFrameHeaderBytes));
  }

  void set_idle_timeout(Duration timeout) override { idle_timeout_ = timeout; }
  void set_payload_limit(std::uint32_t bytes_max) override { payload_limit_ = bytes_max; }
  void set_compression(Compression) override {}
  /// What was sent before still reaches the peer.
  void close() noexcept override {
    is_closed_ = true;
    for (MemoryLink::Direction* direction : {&out_, &in_}) {
      direction->is_open = false;
      direction->changed.cancel();
    }
  }
  const std::string& peer_name() const override { return peer_name_; }
  const std::vector<std::string>& certified_names() const override { return certified_names_; }
  std::uint64_t bytes_sent() const override { return bytes_sent_; }

 private:
  static MemoryLink::Frame framed(const Message& message) {
    MemoryLink::Frame frame(kFrameHeaderBytes);
    encode(message, frame);
    const auto length = static_cast<std::uint32_t>(frame.size() - kFrameHeaderBytes);
    encode_header({type_of(message), false, length, length}, std::span(frame).first<kFrameHeaderBytes>());
    return frame;
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
  MemoryLink::Direction& out_;
  MemoryLink::Direction& in_;
  Clock& clock_;
  std::string peer_name_;
  std::vector<std::string> certified_names_;   // the part of peer_name before the first blank
  Duration idle_timeout_;
  std::uint32_t payload_limit_ = kPayloadBytesMax;
  std::uint64_t bytes_sent_ = 0;
  MemoryLink::Frame received_;
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

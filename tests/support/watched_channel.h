// SPDX-License-Identifier: GPL-2.0-or-later
// A channel whose messages are told to a story, and may be changed or swallowed on their way.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/support/story.h"
#include "transport/channel.h"

namespace vmigrate {

class WatchedChannel final : public Channel {
 public:
  enum class Fate { arrives, vanishes };
  /// Sees each message just before it goes. It may change it, cut the link, cancel, throw.
  using Hook = std::function<Fate(Message&)>;

  WatchedChannel(std::unique_ptr<Channel> wire, std::string side, Story& story)
      : wire_(std::move(wire)), side_(std::move(side)), story_(story) {}
  /// A connection for blocks: they are told, and may be changed, as if `first` said them.
  WatchedChannel(std::unique_ptr<Channel> wire, WatchedChannel& first)
      : wire_(std::move(wire)), side_("lane"), story_(first.story_), first_(&first) {}
  void before_send(Hook hook) { hook_ = std::move(hook); }
  /// `hook` sees each message that has arrived, just before it is handled.
  void before_handling(std::function<void(const Message&)> hook) { handling_hook_ = std::move(hook); }

  Task<> send(const Message& message) override {
    Message copy = message;
    WatchedChannel& teller = first_ != nullptr && is_block(message) ? *first_ : *this;
    if (teller.tell(copy) == Fate::vanishes) co_return;
    co_await wire_->send(copy);
  }
  Task<Message> receive() override {
    Message message = co_await wire_->receive();
    if (handling_hook_) handling_hook_(message);
    co_return message;
  }
  void set_idle_timeout(Duration timeout) override { wire_->set_idle_timeout(timeout); }
  void set_payload_limit(std::uint32_t bytes_max) override { wire_->set_payload_limit(bytes_max); }
  void set_compression(Compression compression, std::size_t streams) override {
    wire_->set_compression(compression, streams);
  }
  void note_pause(Duration pause) override { wire_->note_pause(pause); }
  void close() noexcept override { wire_->close(); }
  const std::string& peer_name() const override { return wire_->peer_name(); }
  const std::vector<std::string>& certified_names() const override { return wire_->certified_names(); }
  std::uint64_t bytes_sent() const override { return wire_->bytes_sent(); }

 private:
  static bool is_block(const Message& message) {
    return std::holds_alternative<BlockData>(message) || std::holds_alternative<BlockZeroes>(message);
  }
  Fate tell(Message& message) {
    story_.tell(side_ + " sends " + std::string(name_of(message)));
    return hook_ ? hook_(message) : Fate::arrives;
  }

  std::unique_ptr<Channel> wire_;
  std::string side_;
  Story& story_;
  WatchedChannel* first_ = nullptr;
  Hook hook_;
  std::function<void(const Message&)> handling_hook_;
};

}  // namespace vmigrate

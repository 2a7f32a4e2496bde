// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/outgoing_lanes.h"

#include "base/assert.h"
#include "base/error.h"

namespace vmigrate {
namespace {

Task<> say(Channel& channel, const Message& message) { co_await channel.send(message); }

}  // namespace

/// Blocks over one lane.
class OutgoingLanes::Sink final : public BlockSink {
 public:
  Sink(Channel& channel, Pacer& pacer) : channel_(channel), pacer_(pacer) {}

  void check() const override {
    if (pacer_.is_stopped())
      throw Error(Errc::connection_lost, "the connection to " + channel_.peer_name() + " is closed");
  }
  Task<> write(Extent extent, std::span<const std::byte> blocks) override {
    const Message message = BlockData{extent.first.value, static_cast<std::uint32_t>(extent.count), blocks};
    const std::uint64_t before = channel_.bytes_sent();
    co_await channel_.send(message);
    channel_.note_pause(co_await pacer_.pass(channel_.bytes_sent() - before));
  }
  Task<> write_zeroes(Extent extent) override {
    const Message message = BlockZeroes{extent.first.value, extent.count};
    co_await channel_.send(message);
  }
  Task<> flush() override {
    MIGRATE_ASSERT(!"a round ends on all lanes together");
    co_return;
  }

 private:
  Channel& channel_;
  Pacer& pacer_;
};

OutgoingLanes::OutgoingLanes(std::vector<std::unique_ptr<Channel>> channels, const Parts& parts) {
  for (auto& channel : channels) {
    channel->set_compression(parts.compression, channels.size());
    auto& lane = lanes_.emplace_back(std::make_unique<DataLane>(std::move(channel), parts.instead_of_threads));
    auto& sink = sinks_.emplace_back(std::make_unique<Sink>(lane->channel(), parts.pacer));
    copy_lanes_.push_back({sink.get(), lane->executor()});
  }
}

OutgoingLanes::~OutgoingLanes() { close(); }

Task<> OutgoingLanes::end_round(const RoundEnd& end) {
  const Message message = end;
  for (const auto& lane : lanes_) {
    auto said = say(lane->channel(), message);
    co_await run_on(lane->executor(), std::move(said));
  }
}

void OutgoingLanes::set_idle_timeout(Duration timeout) {
  for (const auto& lane : lanes_) lane->channel().set_idle_timeout(timeout);
}

std::uint64_t OutgoingLanes::bytes_sent() const {
  std::uint64_t bytes = 0;
  for (const auto& lane : lanes_) bytes += lane->channel().bytes_sent();
  return bytes;
}

void OutgoingLanes::close() noexcept {
  for (const auto& lane : lanes_) lane->close();
}

}  // namespace vmigrate

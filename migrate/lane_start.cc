// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/lane_start.h"

#include <algorithm>
#include <thread>

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kJoinTimeout = 30s;
constexpr std::uint32_t kStreamsByDefaultMax = 4;

}  // namespace

std::uint32_t default_streams() { return std::clamp(std::thread::hardware_concurrency(), 1U, kStreamsByDefaultMax); }

Task<Channels> dial_lanes(std::function<Task<std::unique_ptr<Channel>>()> dial, MigrationId id, std::uint32_t count) {
  Channels channels;
  const Message join = Join{id};
  while (channels.size() < count) {
    auto channel = co_await dial();
    co_await channel->send(join);
    const Join answer = co_await expect<Join>(*channel);
    if (answer.id != id) throw Error(Errc::protocol_violation, channel->peer_name() + " speaks of another migration");
    channels.push_back(std::move(channel));
  }
  co_return channels;
}

Task<Channels> receive_lanes(Switchboard::Desk& desk, MigrationId id, std::uint32_t count, Clock& clock) {
  Channels channels;
  const Message welcome = Join{id};
  const TimePoint deadline = clock.now() + kJoinTimeout;
  while (channels.size() < count) {
    auto channel = co_await desk.next(clock, deadline - clock.now());
    if (!channel)
      throw Error(Errc::timed_out, "only " + std::to_string(channels.size()) + " of " + std::to_string(count) +
                                       " connections for blocks were opened in time; is there a firewall between?");
    co_await channel->send(welcome);
    channels.push_back(std::move(channel));
  }
  co_return channels;
}

}  // namespace vmigrate

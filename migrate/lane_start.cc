// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/lane_start.h"

#include <algorithm>
#include <exception>
#include <thread>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kJoinTimeout = 30s;
constexpr std::uint32_t kStreamsByDefaultMax = 4;

// Neither throws, since of two waits at once the first success ends both.
Task<> gather(const Expected& expected, Clock& clock, Channels& channels, std::exception_ptr& failure) {
  const Message welcome = Join{expected.id};
  const TimePoint deadline = clock.now() + kJoinTimeout;
  try {
    while (channels.size() < expected.count) {
      auto channel = co_await expected.desk.next(clock, deadline - clock.now());
      if (!channel) co_return;
      co_await channel->send(welcome);
      channels.push_back(std::move(channel));
    }
  } catch (...) {
    failure = std::current_exception();
  }
}

Task<> listen_on(Channel& first, std::optional<Message>& heard, std::exception_ptr& end) {
  try {
    heard = co_await first.receive();
  } catch (...) {
    end = std::current_exception();
  }
}

}  // namespace

std::uint32_t default_streams() { return std::clamp(std::thread::hardware_concurrency(), 1U, kStreamsByDefaultMax); }

Task<Channels> dial_lanes(const Dial& dial, MigrationId id, std::uint32_t count) {
  Channels channels;
  const Message join = Join{id};
  while (channels.size() < count) {
    auto channel = co_await dial();
    co_await channel->send(join);
    const Message answer = co_await channel->receive();
    // Who accepted it and knows nothing of it now has given it up, or was started anew.
    if (std::holds_alternative<Refuse>(answer))
      throw Error(Errc::connection_lost, channel->peer_name() + " does not wait for this migration any more");
    if (!std::holds_alternative<Join>(answer) || std::get<Join>(answer).id != id)
      throw_unexpected(*channel, answer, "Join");
    channels.push_back(std::move(channel));
  }
  co_return channels;
}

Task<Channels> receive_lanes(const Expected& expected, Channel& first, Clock& clock, std::optional<Message>& heard) {
  using namespace asio::experimental::awaitable_operators;
  Channels channels;
  std::exception_ptr failure, end_of_first;
  co_await (gather(expected, clock, channels, failure) || listen_on(first, heard, end_of_first));
  if (channels.size() == expected.count) co_return channels;
  if (heard) throw_unexpected(first, *heard, "Join");
  if (end_of_first) std::rethrow_exception(end_of_first);
  if (failure) std::rethrow_exception(failure);
  throw Error(Errc::timed_out, "only " + std::to_string(channels.size()) + " of " + std::to_string(expected.count) +
                                   " connections for blocks were opened in time; is there a firewall between?");
}

}  // namespace vmigrate

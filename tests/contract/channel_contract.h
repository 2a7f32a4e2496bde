// SPDX-License-Identifier: GPL-2.0-or-later
// What every Channel promises. A test supplies a way to make a connected pair, the rest is the same for all.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

#include "tests/catch.h"
#include "tests/support/run_task.h"
#include "transport/channel.h"

namespace vmigrate {

struct ChannelPair {
  std::unique_ptr<Channel> first;
  std::unique_ptr<Channel> second;
};
/// Called on the executor of the test.
using MakeChannelPair = std::function<Task<ChannelPair>()>;

namespace channel_contract {

using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

inline Task<> pause(Duration how_long) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, how_long);
  co_await timer.async_wait(asio::use_awaitable);
}

/// The code of the Error that `task` ends with, or nothing when it ends well.
template <typename T>
Task<std::optional<Errc>> failure_of(Task<T> task) {
  try {
    co_await std::move(task);
  } catch (const Error& error) {
    co_return error.code_or(Errc::internal);
  }
  co_return std::nullopt;
}

inline std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  std::uint32_t state = seed * 2654435761U + 1;
  for (std::byte& b : bytes) b = static_cast<std::byte>((state = state * 1664525U + 1013904223U) >> 24);
  return bytes;
}

inline Task<> send_rounds(Channel& channel, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const Message message = RoundEnd{i, 0, {i, 0}};
    co_await channel.send(message);
  }
}

inline Task<> receive_rounds(Channel& channel, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto round = co_await expect<RoundEnd>(channel);
    REQUIRE(round.round == i);
  }
}

inline Task<> keeps_order(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  co_await (send_rounds(*pair.first, 500) && receive_rounds(*pair.second, 500) && send_rounds(*pair.second, 500) &&
            receive_rounds(*pair.first, 500));
}

inline Task<> send_blocks(Channel& channel, const std::vector<std::byte>& bytes, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const Message message = BlockData{i, static_cast<std::uint32_t>(bytes.size() / kWireBlockBytes), bytes};
    co_await channel.send(message);
  }
}

inline Task<> receive_blocks(Channel& channel, const std::vector<std::byte>& bytes, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto data = co_await expect<BlockData>(channel);
    REQUIRE(data.first_block == i);
    REQUIRE(std::ranges::equal(data.bytes, bytes));
  }
}

inline Task<> carries_blocks(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  const auto random = pattern(kDataBytesMax, 7);
  const std::vector<std::byte> smooth(kDataBytesMax, std::byte{42});
  for (const auto compression : {Compression::none, Compression::automatic, Compression::lz4, Compression::zstd}) {
    pair.first->set_compression(compression, 1);
    co_await (send_blocks(*pair.first, random, 24) && receive_blocks(*pair.second, random, 24));
    co_await (send_blocks(*pair.first, smooth, 24) && receive_blocks(*pair.second, smooth, 24));
  }
  CHECK(pair.first->bytes_sent() > 4 * 24ULL * kDataBytesMax);
}

inline Task<> holds_a_sender_back(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  const auto bytes = pattern(kDataBytesMax, 1);
  // Nobody receives: after the buffers are full the sender waits.
  const auto outcome = co_await (send_blocks(*pair.first, bytes, 1000) || pause(300ms));
  CHECK(outcome.index() == 1);
  CHECK(pair.first->bytes_sent() < 100ULL * kDataBytesMax);
}

inline Task<> ends_as_lost(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  co_await send_rounds(*pair.first, 3);
  pair.first->close();
  co_await receive_rounds(*pair.second, 3);
  const auto failure = co_await failure_of(pair.second->receive());
  CHECK(failure == Errc::connection_lost);
  const auto again = co_await failure_of(pair.second->receive());
  CHECK(again == Errc::connection_lost);
}

inline Task<> tells_a_hang_up(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  pair.first->close();
  bool has_hung_up = false;
  try {
    co_await pair.second->receive();
  } catch (const HangUp&) {
    has_hung_up = true;
  }
  CHECK(has_hung_up);
}

inline Task<> times_out(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  pair.second->set_idle_timeout(50ms);
  const auto failure = co_await failure_of(pair.second->receive());
  CHECK(failure == Errc::timed_out);
  // Between two messages nothing is lost by that.
  co_await send_rounds(*pair.first, 1);
  co_await receive_rounds(*pair.second, 1);
}

inline Task<> times_out_sending(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  pair.first->set_idle_timeout(100ms);
  const auto bytes = pattern(kDataBytesMax, 2);
  const auto failure = co_await failure_of(send_blocks(*pair.first, bytes, 1000));
  CHECK(failure == Errc::timed_out);
}

inline Task<> close_later(Channel& channel) {
  co_await pause(50ms);
  channel.close();
  channel.close();
}

inline Task<> close_wakes(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  const auto failure = co_await (failure_of(pair.second->receive()) && close_later(*pair.second));
  CHECK(failure == Errc::connection_lost);
  const auto sending = co_await failure_of(send_rounds(*pair.second, 1));
  CHECK(sending == Errc::connection_lost);
  const auto at_the_peer = co_await failure_of(pair.first->receive());
  CHECK(at_the_peer == Errc::connection_lost);
}

/// receive() itself in an || would have its Message taken apart, which is a variant like the result.
inline Task<> receive_any(Channel& channel) { co_await channel.receive(); }

inline Task<> survives_cancelling(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  const auto outcome = co_await (receive_any(*pair.second) || pause(20ms));
  CHECK(outcome.index() == 1);
  co_await send_rounds(*pair.first, 2);
  co_await receive_rounds(*pair.second, 2);
}

inline Task<> last_words_arrive(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  const auto bytes = pattern(kDataBytesMax, 3), fits_on_the_way = pattern(kDataBytesMax / 16, 3);
  const Message refusal = Refuse{static_cast<std::uint32_t>(Errc::no_space), "full\n"};
  co_await send_blocks(*pair.first, fits_on_the_way, 2);
  co_await pair.second->send(refusal);
  pair.second->close();
  const auto sending = co_await failure_of(send_blocks(*pair.first, bytes, 1000));
  CHECK(sending.has_value());
  std::string sentence;
  Errc code{};
  try {
    co_await expect<RoundAck>(*pair.first);
  } catch (const Error& error) {
    code = error.code_or(Errc::internal);
    sentence = error.what();
  }
  CHECK(code == Errc::no_space);
  CHECK(sentence == "full?");
}

inline Task<> names_the_unexpected(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  co_await send_rounds(*pair.first, 1);
  std::string sentence;
  try {
    co_await expect<RoundAck>(*pair.second);
  } catch (const Error& error) {
    CHECK(error.code() == Errc::protocol_violation);
    sentence = error.what();
  }
  CHECK(sentence == pair.second->peer_name() + " sent RoundEnd where RoundAck was expected");
}

inline Task<> keeps_to_the_payload_limit(MakeChannelPair make) {
  ChannelPair pair = co_await make();
  const Message small = Ask{};
  const Message large = Start{std::string(100, ' ')};
  pair.second->set_payload_limit(50);
  co_await pair.first->send(small);
  co_await expect<Ask>(*pair.second);
  co_await pair.first->send(large);
  const auto failure = co_await failure_of(pair.second->receive());
  CHECK(failure == Errc::protocol_violation);
}

}  // namespace channel_contract

/// Runs every sentence of the contract as a section of the calling test case.
inline void check_channel_contract(const MakeChannelPair& make) {
  using namespace channel_contract;
  SECTION("messages arrive in order, in both directions at once") { run_task(keeps_order(make)); }
  SECTION("blocks arrive as they were sent, compressed or not") { run_task(carries_blocks(make)); }
  SECTION("a receiver that does not receive holds the sender back") { run_task(holds_a_sender_back(make)); }
  SECTION("the end of the stream is connection_lost, after everything that was sent") { run_task(ends_as_lost(make)); }
  SECTION("a peer that ends the conversation is known to have done so") { run_task(tells_a_hang_up(make)); }
  SECTION("a silent peer is timed_out, and may go on talking") { run_task(times_out(make)); }
  SECTION("a peer that takes nothing is timed_out") { run_task(times_out_sending(make)); }
  SECTION("close wakes a pending receive") { run_task(close_wakes(make)); }
  SECTION("a receive cancelled between two messages loses nothing") { run_task(survives_cancelling(make)); }
  SECTION("a refusal is heard even by a peer that is sending") { run_task(last_words_arrive(make)); }
  SECTION("a message beyond the limit is a protocol_violation") { run_task(keeps_to_the_payload_limit(make)); }
  SECTION("an unexpected message is named") { run_task(names_the_unexpected(make)); }
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The channel contract, for the channel in memory and the one over TLS, and what only the latter promises.
#include "tests/contract/channel_contract.h"

#include <algorithm>

#include "tests/support/memory_channel.h"
#include "tests/support/tls_pair.h"
#include "transport/tls_channel.h"

using namespace vmigrate;
using namespace vmigrate::channel_contract;

namespace {

Task<ChannelPair> memory_pair(Clock& clock) {
  const auto executor = co_await asio::this_coro::executor;
  auto made = make_memory_channels(executor, clock);
  ChannelPair pair{std::move(made.first), std::move(made.second)};
  co_return std::move(pair);
}

Task<> cut_in_the_middle(Clock& clock) {
  const auto executor = co_await asio::this_coro::executor;
  auto made = make_memory_channels(executor, clock);
  made.link->cut_after(3);
  const auto sending = co_await failure_of(send_rounds(*made.first, 4));
  CHECK(sending == Errc::connection_lost);
  const auto receiving = co_await failure_of(made.second->receive());
  CHECK(receiving == Errc::connection_lost);
  CHECK(made.link->messages_sent() == 3);
}

Task<> blocks_are_aligned(const TlsContext& alpha, const TlsContext& beta) {
  ChannelPair pair = co_await connect_pair(alpha, beta);
  const std::vector<std::byte> smooth(8 * kWireBlockBytes, std::byte{1});
  for (const auto compression : {Compression::none, Compression::lz4, Compression::zstd}) {
    pair.first->set_compression(compression, 1);
    co_await send_blocks(*pair.first, smooth, 1);
    const auto data = co_await expect<BlockData>(*pair.second);
    CHECK(reinterpret_cast<std::uintptr_t>(data.bytes.data()) % kWireBlockBytes == 0);
  }
  CHECK(pair.first->bytes_sent() < smooth.size() + 4096);
}

struct StreamPair {
  std::unique_ptr<TlsStream> source;
  std::unique_ptr<TlsStream> destination;
};

/// Both ends of one connection, without a listener and without channels.
Task<StreamPair> stream_pair(const TlsContext& alpha, const TlsContext& beta) {
  using asio::ip::tcp;
  const auto executor = co_await asio::this_coro::executor;
  tcp::acceptor acceptor(executor, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  tcp::socket dialled(executor);
  auto [accepted, unused] =
      co_await (acceptor.async_accept(asio::use_awaitable) &&
                dialled.async_connect(acceptor.local_endpoint(), asio::as_tuple(asio::use_awaitable)));
  StreamPair pair{std::make_unique<TlsStream>(std::move(dialled), alpha.for_connecting().native_handle(),
                                              TlsRole::connecting, "beta"),
                  std::make_unique<TlsStream>(std::move(accepted), beta.for_accepting().native_handle(),
                                              TlsRole::accepting, "")};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  co_await (pair.source->shake_hands(deadline) && pair.destination->shake_hands(deadline));
  co_return std::move(pair);
}

Task<> change_keys(const TlsContext& alpha, const TlsContext& beta) {
  StreamPair pair = co_await stream_pair(alpha, beta);
  TlsChannel first(std::move(pair.source), {.key_bytes_max = 3 * kDataBytesMax});
  TlsChannel second(std::move(pair.destination), {.key_bytes_max = 1000});
  const auto bytes = pattern(kDataBytesMax, 4);
  co_await (send_blocks(first, bytes, 40) && receive_blocks(second, bytes, 40) && send_rounds(second, 500) &&
            receive_rounds(first, 500));
  CHECK(second.peer_name().starts_with("alpha (127.0.0.1:"));
}

/// A RoundEnd of 21 bytes, the first `at_once` of its frame in one piece, then one by one.
Task<> write_in_drops(TlsStream& stream, std::size_t at_once, Duration pause_between) {
  std::vector<std::byte> frame(kFrameHeaderBytes);
  encode(Message(RoundEnd{7, 0, {1, 2}}), frame);
  const auto length = static_cast<std::uint32_t>(frame.size() - kFrameHeaderBytes);
  const FrameHeader header{type_of(Message(RoundEnd{})), Codec::none, length, length};
  encode_header(header, std::span(frame).first<kFrameHeaderBytes>());
  std::span<const std::byte> rest(frame);
  co_await stream.write(rest.first(at_once));
  for (rest = rest.subspan(at_once); !rest.empty(); rest = rest.subspan(1)) {
    co_await pause(pause_between);
    co_await stream.write(rest.first(1));
  }
}

/// How long a message may trickle in until the receiver has had enough; nothing if it arrives.
Task<std::optional<Errc>> failure_after_drops(const TlsContext& alpha, const TlsContext& beta, std::size_t at_once,
                                              Duration pause_between, Duration patience) {
  StreamPair pair = co_await stream_pair(alpha, beta);
  TlsChannel receiver(std::move(pair.destination));
  receiver.set_idle_timeout(patience);
  const auto outcome = co_await (failure_of(receiver.receive()) ||
                                 (write_in_drops(*pair.source, at_once, pause_between) && pause(20s)));
  REQUIRE(outcome.index() == 0);
  co_return std::get<0>(outcome);
}

}  // namespace

TEST_CASE("a channel in memory keeps the contract", "[transport][channel]") {
  SteadyClock clock;
  check_channel_contract([&clock] { return memory_pair(clock); });
}

TEST_CASE("a channel over TLS keeps the contract", "[transport][channel][tls]") {
  const TestPki pki;
  const TlsContext alpha(pki.host("alpha"));
  const TlsContext beta(pki.host("beta"));
  check_channel_contract([&] { return connect_pair(alpha, beta); });
}

TEST_CASE("a link in memory can be cut after any message", "[transport][channel]") {
  SteadyClock clock;
  run_task(cut_in_the_middle(clock));
}

TEST_CASE("received blocks are aligned for direct I/O", "[transport][channel][tls]") {
  const TestPki pki;
  const TlsContext alpha(pki.host("alpha"));
  const TlsContext beta(pki.host("beta"));
  run_task(blocks_are_aligned(alpha, beta));
}

TEST_CASE("keys change in the middle of a stream", "[transport][channel][tls]") {
  const TestPki pki;
  const TlsContext alpha(pki.host("alpha"));
  const TlsContext beta(pki.host("beta"));
  run_task(change_keys(alpha, beta));
}

TEST_CASE("a message that trickles in is timed_out, although its sender is never silent", "[transport][channel][tls]") {
  const TestPki pki;
  const TlsContext alpha(pki.host("alpha"));
  const TlsContext beta(pki.host("beta"));
  CHECK(run_task(failure_after_drops(alpha, beta, 0, 30ms, 200ms)) == Errc::timed_out);
  CHECK(run_task(failure_after_drops(alpha, beta, kFrameHeaderBytes, 30ms, 200ms)) == Errc::timed_out);
  CHECK(run_task(failure_after_drops(alpha, beta, 0, 1ms, 10s)) == std::nullopt);
}

// SPDX-License-Identifier: GPL-2.0-or-later
// The connections for blocks as they are: TLS on loopback, with a thread at each end. Under TSan, too.
#include <fcntl.h>

#include <cstdio>
#include <fstream>
#include <random>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "engine/device_volume.h"
#include "engine/image_sink.h"
#include "migrate/incoming_lanes.h"
#include "migrate/outgoing_lanes.h"
#include "tests/catch.h"
#include "tests/support/run_task.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tls_pair.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kLanes = 3;
constexpr std::uint64_t kVolumeBytes = 24 << 20;

/// Random data with a hole every few MiB.
void make_image(const std::filesystem::path& path) {
  std::ofstream(path).close();
  std::filesystem::resize_file(path, kVolumeBytes);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  std::mt19937 random(1);
  std::vector<std::uint32_t> megabyte((1 << 20) / sizeof(std::uint32_t));
  for (std::uint64_t at = 0; at < kVolumeBytes; at += 3 << 20) {
    for (auto& word : megabyte) word = static_cast<std::uint32_t>(random());
    file.seekp(static_cast<std::streamoff>(at));
    file.write(reinterpret_cast<const char*>(megabyte.data()), 1 << 20);
  }
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Both ends in one process, and what they copy from and to.
struct Ends {
  explicit Ends(Compression compressed = Compression::none) : compression(compressed) {
    make_image(directory.path() / "image");
    source = open_source(pool, directory.path() / "image");
    sink = create_image_sink(pool, directory.path() / "copy", source->geometry(), 0);
    sent.emplace(source->geometry(), directory.path());
    received.emplace(source->geometry(), directory.path());
  }

  Task<> connect() {
    std::vector<std::unique_ptr<Channel>> dialled, accepted;
    while (dialled.size() < kLanes) {
      auto pair = co_await connect_pair(alpha, beta);
      dialled.push_back(std::move(pair.first));
      accepted.push_back(std::move(pair.second));
    }
    const auto executor = co_await asio::this_coro::executor;
    const OutgoingLanes::Parts outgoing_parts{compression, pacer, {}};
    outgoing = std::make_unique<OutgoingLanes>(std::move(dialled), outgoing_parts);
    const IncomingLanes::Parts incoming_parts{*sink, *received, source->geometry(), clock, {}};
    incoming = std::make_unique<IncomingLanes>(executor, std::move(accepted), incoming_parts);
  }
  Task<> copy_everything() {
    DirtySet all(source->geometry().block_count());
    all.add_all();
    ParallelCopy copy({*source, *sent, outgoing->copy_lanes()});
    co_await copy.copy(all);
  }
  Task<> end_round(std::uint32_t round) {
    const RoundEnd end{round, 0, sent->root()};
    co_await outgoing->end_round(end);
    co_await incoming->reach(round);
  }
  /// What lives on the loop goes before it.
  Task<> end() {
    outgoing->close();
    co_await incoming->end();
    outgoing.reset();
    incoming.reset();
  }

  TestDirectory directory;
  TestPki pki;
  TlsContext alpha{pki.host("alpha")}, beta{pki.host("beta")};
  asio::thread_pool pool{2};
  SteadyClock clock;
  Pacer pacer{clock, 0};
  Compression compression;
  std::unique_ptr<BlockSource> source;
  std::unique_ptr<BlockSink> sink;
  std::optional<DigestIndex> sent, received;
  std::unique_ptr<OutgoingLanes> outgoing;
  std::unique_ptr<IncomingLanes> incoming;
};

Task<> copy_twice(Ends& ends) {
  co_await ends.connect();
  for (std::uint32_t round : {1U, 2U}) {
    co_await ends.copy_everything();
    co_await ends.end_round(round);
  }
  co_await ends.end();
}

/// Throws what the copy throws, after both ends have come to rest.
Task<> lose_the_destination(Ends& ends) {
  co_await ends.connect();
  const auto executor = co_await asio::this_coro::executor;
  const auto hang_up = [&ends]() -> Task<> {
    asio::steady_timer soon(co_await asio::this_coro::executor, 2ms);
    co_await soon.async_wait(asio::use_awaitable);
    co_await ends.incoming->end();
  };
  bool has_hung_up = false;
  asio::co_spawn(executor, hang_up(), [&](std::exception_ptr) { has_hung_up = true; });
  std::exception_ptr failure;
  try {
    for (;;) {
      co_await ends.copy_everything();
      co_await ends.end_round(1);
    }
  } catch (...) {
    failure = std::current_exception();
  }
  asio::steady_timer wait(executor);
  while (!has_hung_up) {
    wait.expires_after(1ms);
    co_await wait.async_wait(asio::use_awaitable);
  }
  co_await ends.end();
  std::rethrow_exception(failure);
}

}  // namespace

TEST_CASE("what lanes with threads carry arrives whole", "[migrate][lanes]") {
  for (const auto compression : {Compression::none, Compression::lz4, Compression::automatic}) {
    Ends ends(compression);
    run_task(copy_twice(ends));
    CHECK(ends.sent->root() == ends.received->root());
    CHECK(content_of(ends.directory.path() / "image") == content_of(ends.directory.path() / "copy"));
  }
}

TEST_CASE("lanes whose other ends go away come to rest with an error", "[migrate][lanes]") {
  for (int i = 0; i < 10; ++i) {
    Ends ends;
    CHECK_THROWS_AS(run_task(lose_the_destination(ends)), Error);
  }
}

// SPDX-License-Identifier: GPL-2.0-or-later
// Writing behind the caller's back: in order, bounded, and no failure is lost.
#include "migrate/block_writer.h"

#include <numeric>

#include "tests/catch.h"
#include "tests/support/memory_volume.h"
#include "tests/support/run_task.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

constexpr VolumeGeometry kGeometry{64 * kBlockBytes};

struct Bench {
  TestDirectory directory;
  asio::thread_pool pool{2};
  MemorySink sink{kGeometry};
  DigestIndex digests{kGeometry, directory.path()};
};

std::vector<std::byte> block_of(int value) {
  return std::vector<std::byte>(kBlockBytes, static_cast<std::byte>(value));
}

Task<> write_all(Bench& bench, int count) {
  const auto executor = co_await asio::this_coro::executor;
  BlockWriter writer(executor, bench.pool, bench.sink, bench.digests);
  for (int i = 0; i < count; ++i) {
    auto block = block_of(i + 1);
    co_await writer.write({{static_cast<std::uint64_t>(i)}, 1}, block);
    std::fill(block.begin(), block.end(), std::byte{0xee});   // the writer has its own copy
  }
  co_await writer.settle();
}

}  // namespace

TEST_CASE("what was given is written in order and digested", "[migrate][writer]") {
  Bench bench;
  run_task(write_all(bench, 30));
  REQUIRE(bench.sink.writes().size() == 30);
  DigestIndex expected(kGeometry, bench.directory.path());
  for (std::uint64_t i = 0; i < 30; ++i) {
    CHECK(bench.sink.writes()[i].first == BlockIndex{i});
    expected.update({{i}, 1}, block_of(static_cast<int>(i) + 1));
  }
  CHECK(bench.digests.root() == expected.root());
  CHECK(bench.sink.content()[5 * kBlockBytes] == std::byte{6});
}

TEST_CASE("a block that is sent twice ends as it was sent last", "[migrate][writer]") {
  Bench bench;
  const auto steps = [&]() -> Task<> {
    const auto executor = co_await asio::this_coro::executor;
    BlockWriter writer(executor, bench.pool, bench.sink, bench.digests);
    for (int i = 1; i <= 20; ++i) {
      const auto block = block_of(i);
      co_await writer.write({{3}, 1}, block);
    }
    co_await writer.write_zeroes({{4}, 2});
    co_await writer.settle();
  };
  run_task(steps());
  CHECK(bench.sink.content()[3 * kBlockBytes] == std::byte{20});
  DigestIndex expected(kGeometry, bench.directory.path());
  expected.update({{3}, 1}, block_of(20));
  CHECK(bench.digests.root() == expected.root());
}

TEST_CASE("a failed write is thrown by a later call, and nothing is written after it", "[migrate][writer]") {
  Bench bench;
  bench.sink.fail_write_after(3, ENOSPC);
  try {
    run_task(write_all(bench, 30));
    FAIL("nobody was told");
  } catch (const Error& error) {
    CHECK(error.code() == std::errc::no_space_on_device);
  }
  CHECK(bench.sink.writes().size() == 2);
}

TEST_CASE("settle returns at once when nothing was given, and can be called again", "[migrate][writer]") {
  Bench bench;
  const auto steps = [&]() -> Task<> {
    const auto executor = co_await asio::this_coro::executor;
    BlockWriter writer(executor, bench.pool, bench.sink, bench.digests);
    co_await writer.settle();
    const auto block = block_of(1);
    co_await writer.write({{0}, 1}, block);
    co_await writer.settle();
    co_await writer.settle();
    co_await writer.write({{1}, 1}, block);
    co_await writer.settle();
    CHECK(bench.sink.writes().size() == 2);
  };
  run_task(steps());
}

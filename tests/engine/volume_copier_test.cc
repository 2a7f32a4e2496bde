// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/volume_copier.h"

#include <array>
#include <functional>
#include <future>
#include <random>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/support/fake_tracker.h"
#include "tests/support/memory_volume.h"
#include "tests/support/run_task.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

constexpr std::uint64_t kBlocks = 4000;
constexpr std::uint64_t kBytes = kBlocks * kBlockBytes;

constexpr BlockIndex block(std::uint64_t index) { return {index}; }

/// A volume, the copy of it, and everything between.
struct World {
  explicit World(std::uint64_t bytes = kBytes) : volume(bytes), sink({bytes}), digests({bytes}, directory.path()) {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() { pool.join(); }

  RoundStats round() { return run_task(copier.copy_round()); }
  RoundStats final_round() {
    const auto quiet = run_task(volume.quiesce());
    return run_task(copier.copy_final_round(*quiet));
  }
  /// As if it had been written before the tracker was armed.
  void write_before(Extent extent) {
    volume.write(extent, 1);
    DirtySet forgotten(kBlocks);
    run_task(tracker.drain_into(forgotten));
  }
  bool is_copied() const { return std::ranges::equal(volume.content(), sink.content()); }
  std::uint64_t failed_round(int error_code) {
    try {
      round();
    } catch (const Error& failure) {
      CHECK(failure.code().value() == error_code);
      return sink.blocks_written();
    }
    FAIL("the round did not fail");
    return 0;
  }

  TestDirectory directory;
  asio::thread_pool pool{2};
  SteadyClock clock;
  MemoryVolume volume;
  MemorySink sink;
  DigestIndex digests;
  FakeTracker tracker{volume};
  const CopyLane lane{&sink};
  VolumeCopier copier{{tracker, volume, sink, digests, clock, pool, {&lane, 1}}};
};

/// The same over three lanes, which share a thread since a sink in memory has no locks.
struct LanesWorld : World {
  ~LanesWorld() { lane_thread.join(); }
  RoundStats round() { return run_task(over_lanes.copy_round()); }

  asio::thread_pool lane_thread{1};
  const CopyLane apart{&sink, lane_thread.get_executor()};
  const std::array<CopyLane, 3> lanes{apart, apart, apart};
  VolumeCopier over_lanes{{tracker, volume, sink, digests, clock, pool, lanes}};
};

}  // namespace

TEST_CASE("round 1 copies what is there and leaves out holes and zeroes", "[engine]") {
  World world;
  world.volume.write({{10}, 600}, 1);
  world.volume.write_zeroes({{1000}, 5});
  const auto stats = world.round();
  CHECK(world.is_copied());
  CHECK(world.sink.blocks_written() == 600);
  CHECK(world.sink.blocks_zeroed() == 0);
  CHECK(stats.round == 1);
  CHECK(stats.blocks_dirty == kBlocks);
  CHECK(stats.data_bytes == 600 * kBlockBytes);
  CHECK(stats.zero_bytes == (kBlocks - 600) * kBlockBytes);
  CHECK(world.sink.flushes() == 1);
}

TEST_CASE("holes are not read", "[engine]") {
  World world;
  world.volume.write({{300}, 4}, 1);
  world.round();
  CHECK(world.volume.reads() == std::vector<Extent>{{{300}, 4}});
}

TEST_CASE("no extent is longer than the largest, and they come in order", "[engine]") {
  World world;
  world.volume.write({{3}, 2000}, 1);
  world.round();
  const auto& writes = world.sink.writes();
  CHECK(writes.size() == 8);
  CHECK(std::ranges::is_sorted(writes, {}, &Extent::first));
}

TEST_CASE("a later round copies what was written meanwhile and nothing else", "[engine]") {
  World world;
  world.volume.write({{0}, kBlocks}, 1);
  world.round();
  world.sink.forget_writes();
  world.volume.write({{100}, 3}, 2);
  world.volume.write(block(3999), 2);
  const auto stats = world.round();
  CHECK(world.is_copied());
  CHECK(stats.round == 2);
  CHECK(stats.blocks_dirty == kBlocks);
  CHECK(world.sink.writes() == std::vector<Extent>{{{100}, 3}, {{3999}, 1}});
}

TEST_CASE("a write that lands while its block is read appears in the next round", "[engine]") {
  World world;
  world.volume.write({{0}, 10}, 1);
  bool has_written = false;
  world.volume.after_read([&](Extent) {
    if (!std::exchange(has_written, true)) world.volume.write(block(7), 2);
  });
  const auto stats = world.round();
  CHECK(!world.is_copied());
  CHECK(stats.bytes_left > 0);
  world.round();
  CHECK(world.is_copied());
}

TEST_CASE("a block that is written in every round is sent in the last one only", "[engine]") {
  World world;
  world.volume.write({{0}, 100}, 1);
  world.round();
  world.round();
  unsigned seed = 1;
  world.volume.after_read([&](Extent) { world.volume.write(block(7), ++seed); });
  world.sink.forget_writes();
  for (std::uint64_t round = 0; round < 4; ++round) {
    world.volume.write(block(50 + round), 2);
    world.volume.write(block(7), ++seed);
    const auto stats = world.round();
    CHECK(stats.bytes_left == kBlockBytes);
  }
  // The first of these rounds cannot know.
  CHECK(std::ranges::count(world.sink.writes(), Extent{{7}, 1}) == 1);
  world.volume.after_read({});
  world.final_round();
  CHECK(world.is_copied());
}

TEST_CASE("a block that was hot and is not any more is sent", "[engine]") {
  World world;
  world.round();
  for (unsigned seed = 1; seed <= 3; ++seed) {
    world.volume.write(block(7), seed);
    CHECK(world.round().bytes_left == 0);
    CHECK(world.is_copied());
  }
}

TEST_CASE("data that became zeroes is handed on as zeroes", "[engine]") {
  World world;
  world.volume.write({{0}, 100}, 1);
  world.round();
  world.sink.forget_writes();
  world.volume.write_zeroes({{10}, 5});
  world.volume.discard({{50}, 20});
  const auto stats = world.round();
  CHECK(world.is_copied());
  CHECK(world.sink.blocks_written() == 0);
  CHECK(world.sink.zeroes() == std::vector<Extent>{{{10}, 5}, {{50}, 20}});
  CHECK(stats.data_bytes == 0);
}

TEST_CASE("a large discard is neither read nor handed on block by block", "[engine]") {
  World world;
  world.volume.write({{0}, kBlocks}, 1);
  world.round();
  world.volume.forget_reads();
  world.volume.discard({{0}, kBlocks});
  world.round();
  CHECK(world.is_copied());
  CHECK(world.volume.reads().empty());
  CHECK(world.sink.zeroes() == std::vector<Extent>{{{0}, kBlocks}});
}

TEST_CASE("writing the same content again sends nothing", "[engine]") {
  World world;
  world.volume.write({{0}, 10}, 1);
  world.round();
  run_task(world.volume.write_back());
  world.round();
  world.sink.forget_writes();
  world.volume.write({{2}, 3}, 1);
  const auto stats = world.round();
  CHECK(stats.blocks_dirty == 3);
  CHECK(stats.data_bytes == 0);
  CHECK(world.sink.writes().empty());
  CHECK(world.is_copied());
}

TEST_CASE("what is left is what was written during the round", "[engine]") {
  World world;
  world.volume.write({{0}, 10}, 1);
  world.round();
  world.round();
  world.sink.before_write([&](Extent) { world.volume.write({{20}, 2}, 5); });
  world.volume.write(block(1), 3);
  const auto stats = world.round();
  CHECK(stats.blocks_dirty == 1);
  CHECK(stats.bytes_left == 2 * kBlockBytes);
}

TEST_CASE("pages that the kernel has not written yet count as left", "[engine]") {
  World world;
  world.volume.write_later(block(9), 1);
  CHECK(world.round().bytes_left == kBlockBytes);
  world.volume.write_later(block(11), 1);
  const auto stats = world.round();
  CHECK(stats.blocks_dirty == 2);
  CHECK(world.is_copied());
}

TEST_CASE("a partial last block is copied", "[engine]") {
  World world(100 * kBlockBytes + 512);
  world.volume.write(block(100), 1);
  world.round();
  CHECK(world.is_copied());
}

TEST_CASE("an empty volume is copied by doing nothing", "[engine]") {
  World world(0);
  CHECK(world.round().bytes_left == 0);
  world.final_round();
  CHECK(world.sink.writes().empty());
}

TEST_CASE("a read error ends the round, and the next one goes on where it ended", "[engine]") {
  World world;
  world.volume.write({{0}, kBlocks}, 1);
  world.volume.fail_reads_of(block(2000));
  CHECK(world.failed_round(EIO) == 7 * kExtentBlocksMax);
  world.sink.forget_writes();
  world.volume.fail_reads_of(block(2000), 0);
  world.round();
  CHECK(world.is_copied());
  CHECK(world.sink.blocks_written() == kBlocks - 7 * kExtentBlocksMax);
}

TEST_CASE("a sink error ends the round and loses nothing", "[engine]") {
  World world;
  world.volume.write({{0}, kBlocks}, 1);
  world.sink.fail_write_after(5);
  CHECK(world.failed_round(EIO) == 4 * kExtentBlocksMax);
  world.round();
  CHECK(world.is_copied());
}

TEST_CASE("a sink error in a later round loses nothing", "[engine]") {
  World world;
  world.volume.write({{0}, kBlocks}, 1);
  world.round();
  world.round();
  for (std::uint64_t index = 0; index < kBlocks; index += 3) world.volume.write(block(index), 2);
  const auto failing_operation = GENERATE(1, 2, 255, 256, 257, 1000);
  world.sink.fail_write_after(failing_operation);
  world.sink.forget_writes();
  world.failed_round(EIO);
  world.round();
  CHECK(world.is_copied());
  CHECK(world.final_round().bytes_left == 0);
}

TEST_CASE("a failed write back or drain loses nothing", "[engine]") {
  World world;
  world.volume.write({{0}, 100}, 1);
  world.round();
  world.volume.write({{50}, 10}, 2);
  world.tracker.fail_drain();
  world.failed_round(EIO);
  world.volume.fail_write_back();
  world.failed_round(EIO);
  world.volume.fail_write_back(0);
  world.round();
  CHECK(world.is_copied());
}

TEST_CASE("a failed flush fails the round", "[engine]") {
  World world;
  world.volume.write(block(0), 1);
  world.sink.fail_flush(ENOSPC);
  world.failed_round(ENOSPC);
}

TEST_CASE("the final round leaves nothing", "[engine]") {
  World world;
  world.volume.write({{0}, 100}, 1);
  world.round();
  world.volume.write({{50}, 10}, 2);
  world.volume.write_later(block(1), 3);
  const auto stats = world.final_round();
  CHECK(stats.round == 2);
  CHECK(stats.bytes_left == 0);
  CHECK(world.is_copied());
  CHECK(world.volume.write_backs() == 1);
}

TEST_CASE("after losing track everything is compared and only differences are sent", "[engine]") {
  World world;
  world.volume.write({{0}, 1000}, 1);
  world.round();
  world.sink.forget_writes();
  world.volume.write({{500}, 3}, 2);
  world.volume.discard({{10}, 2});
  world.tracker.lose_track();
  CHECK(world.failed_round(static_cast<int>(Errc::tracking_lost)) == 0);
  FakeTracker fresh(world.volume);
  world.copier.replace_tracker(fresh);
  const auto stats = run_task(world.copier.copy_differences());
  CHECK(world.is_copied());
  CHECK(stats.blocks_dirty == kBlocks);
  CHECK(stats.data_bytes == 3 * kBlockBytes);
  CHECK(world.sink.zeroes() == std::vector<Extent>{{{10}, 2}});
  world.volume.write(block(7), 9);
  world.final_round();
  CHECK(world.is_copied());
}

TEST_CASE("the digest of what was handed on is the digest of the copy", "[engine]") {
  World world;
  world.volume.write({{0}, 1000}, 1);
  world.round();
  world.volume.discard({{10}, 400});
  world.volume.write({{5}, 20}, 3);
  world.final_round();
  DigestIndex read_anew({kBytes}, world.directory.path());
  for (std::uint64_t index = 0; index < kBlocks; ++index)
    read_anew.update({{index}, 1}, world.sink.content().subspan(index * kBlockBytes, kBlockBytes));
  CHECK(read_anew.root() == world.digests.root());
}

TEST_CASE("rounds under a random writer end in an equal copy", "[engine][property]") {
  const auto seed = GENERATE(take(10, random(1, 1'000'000)));
  INFO("seed " << seed);
  std::mt19937_64 engine(static_cast<std::uint64_t>(seed));
  World world;
  const auto write_something = [&](Extent) {
    const Extent extent{{engine() % (kBlocks - 64)}, 1 + engine() % 64};
    const auto kind = engine() % 8;
    if (kind == 0) return world.volume.discard(extent);
    if (kind == 1) return world.volume.write_zeroes(extent);
    if (kind < 5) world.volume.write(extent, static_cast<unsigned>(engine() % 3));
  };
  for (int writes = 0; writes < 50; ++writes) write_something({});
  world.volume.before_read(write_something);
  world.volume.after_read(write_something);
  world.sink.before_write(write_something);
  for (int rounds = 0; rounds < 4; ++rounds) {
    if (engine() % 2 == 0) world.sink.fail_write_after(static_cast<int>(1 + engine() % 40));
    try {
      world.round();
    } catch (const Error&) {
    }
  }
  world.sink.fail_write_after(0);
  world.volume.before_read({});
  world.volume.after_read({});
  world.sink.before_write({});
  world.final_round();
  CHECK(world.is_copied());
}

namespace {

/// Runs `last` after `turns` turns of the loop: when everything is done that had to be done by then.
void after_turns(asio::io_context& loop, int turns, std::function<void()> last) {
  if (turns == 0) return last();
  asio::post(loop, [&loop, turns, last = std::move(last)] { after_turns(loop, turns - 1, last); });
}

}  // namespace

TEST_CASE("a cancelled round waits for its lanes and loses nothing", "[engine]") {
  LanesWorld world;
  world.volume.write({{0}, kBlocks}, 1);
  asio::io_context loop;
  asio::cancellation_signal cancel;
  std::exception_ptr failure;
  std::promise<void> is_noticed;
  world.sink.before_write([&](Extent extent) {
    if (extent.first != block(512)) return;
    asio::post(loop, [&] { cancel.emit(asio::cancellation_type::terminal); });
    after_turns(loop, 10, [&] { is_noticed.set_value(); });
    is_noticed.get_future().wait();
  });
  asio::co_spawn(
      loop, world.over_lanes.copy_round(),
      asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr thrown, RoundStats) { failure = thrown; }));
  loop.run();
  CHECK(failure);
  CHECK(!world.is_copied());
  world.sink.before_write({});
  world.round();
  CHECK(world.is_copied());
}

TEST_CASE("a round that ends early goes on where it ended, and what was handed on is not read again", "[engine]") {
  World world;
  world.write_before({{0}, 3000});
  world.sink.before_write([&](Extent extent) {
    if (extent.first == block(512)) world.copier.end_round_early();
  });
  const auto stats = world.round();
  CHECK(world.sink.blocks_written() == 3 * kExtentBlocksMax);
  CHECK(stats.data_bytes == 3 * kExtentBlocksMax * kBlockBytes);
  CHECK(stats.bytes_left == (3000 - 3 * kExtentBlocksMax) * kBlockBytes);   // of data: the holes count for nothing
  CHECK(world.sink.flushes() == 1);
  CHECK_FALSE(world.is_copied());
  world.volume.forget_reads();
  world.sink.forget_writes();
  SECTION("in the next round") {
    CHECK(world.round().data_bytes == stats.bytes_left);
    CHECK(world.sink.writes().front().first == block(3 * kExtentBlocksMax));
  }
  SECTION("in the last round, with what was written meanwhile") {
    world.volume.write(block(5), 9);
    CHECK(world.final_round().data_bytes == stats.bytes_left + kBlockBytes);
  }
  CHECK(world.is_copied());
}

TEST_CASE("a round that is to end before it has begun hands on nothing, and loses nothing", "[engine]") {
  World world;
  world.volume.write({{0}, 100}, 1);
  world.copier.end_round_early();
  CHECK(world.round().bytes_left == 100 * kBlockBytes);
  CHECK(world.sink.blocks_written() == 0);
  world.round();
  CHECK(world.is_copied());
}

TEST_CASE("a comparison that ends early says how much was not compared", "[engine]") {
  World world;
  world.volume.write({{0}, 1000}, 1);
  world.round();
  world.volume.write({{900}, 3}, 2);
  world.tracker.lose_track();
  FakeTracker fresh(world.volume);
  world.copier.replace_tracker(fresh);
  world.copier.end_round_early();
  CHECK(run_task(world.copier.copy_differences()).bytes_left == 1000 * kBlockBytes);
  world.final_round();
  CHECK(world.is_copied());
}

TEST_CASE("over lanes a round that ends early goes on where it ended", "[engine]") {
  LanesWorld world;
  world.write_before({{0}, 3000});
  world.sink.before_write([&](Extent extent) {
    if (extent.first == block(512)) world.over_lanes.end_round_early();
  });
  const auto stats = world.round();
  const auto handed_on = world.sink.blocks_written();
  CHECK(handed_on >= kExtentBlocksMax);
  CHECK(handed_on <= 6 * kExtentBlocksMax);
  CHECK(stats.bytes_left == (3000 - handed_on) * kBlockBytes);
  world.volume.forget_reads();
  CHECK(world.round().data_bytes == stats.bytes_left);
  CHECK(world.volume.reads().front().first == block(handed_on));
  CHECK(world.is_copied());
}

TEST_CASE("over lanes every block that differs is handed on once", "[engine]") {
  LanesWorld world;
  world.volume.write({{3}, 2000}, 1);
  const auto first = world.round();
  CHECK(world.is_copied());
  CHECK(world.sink.blocks_written() == 2000);
  CHECK(first.data_bytes == 2000 * kBlockBytes);
  world.sink.forget_writes();
  world.volume.write({{100}, 3}, 2);
  world.volume.discard({{1500}, 100});
  world.round();
  CHECK(world.is_copied());
  CHECK(world.sink.blocks_written() == 3);
  CHECK(world.sink.zeroes() == std::vector<Extent>{{{1500}, 100}});
}

TEST_CASE("a lane that fails ends the round, and what was not handed on comes with the next", "[engine]") {
  LanesWorld world;
  world.volume.write({{0}, kBlocks}, 1);
  world.sink.fail_write_after(3, ENOSPC);
  CHECK_THROWS_AS(world.round(), Error);
  CHECK_FALSE(world.is_copied());
  const auto stats = world.round();
  CHECK(world.is_copied());
  CHECK(stats.blocks_dirty == kBlocks);
}

namespace {

/// The sink holds an older state of the volume, and `digests` say so.
void begin_with_older_copy(World& world) {
  MemoryVolume older(kBytes);
  older.write({{10}, 600}, 1);
  older.write({{2000}, 300}, 2);
  older.write_zeroes({{2100}, 5});
  world.sink.hold(older.content());
  world.digests.update({{0}, kBlocks}, older.content());
  world.volume.write({{10}, 600}, 1);
  world.volume.write({{100}, 7}, 5);        // changed since
  world.volume.write({{3000}, 4}, 6);       // new
  world.volume.write({{2000}, 10}, 2);      // the rest of it is a hole now
  world.volume.write_zeroes({{2010}, 1});   // or zeroes
}

void check_only_differences_came(World& world, const RoundStats& stats) {
  CHECK(world.is_copied());
  CHECK(world.sink.blocks_written() == 7 + 4);
  CHECK(stats.data_bytes == (7 + 4) * kBlockBytes);
  CHECK(world.sink.blocks_zeroed() == 290 - 5);   // five of the older copy's were zeroes already
}

}  // namespace

TEST_CASE("round 1 hands on only what differs from an older copy, holes included", "[engine]") {
  World world;
  begin_with_older_copy(world);
  const auto stats = world.round();
  check_only_differences_came(world, stats);
}

TEST_CASE("round 1 over lanes hands on only what differs from an older copy, holes included", "[engine]") {
  LanesWorld world;
  begin_with_older_copy(world);
  const auto stats = world.round();
  check_only_differences_came(world, stats);
}

TEST_CASE("a comparison of everything is marked as one", "[engine]") {
  World world;
  world.volume.write({{0}, 10}, 1);
  CHECK_FALSE(world.round().compares);
  CHECK(run_task(world.copier.copy_differences()).compares);
}

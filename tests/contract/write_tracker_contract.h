// SPDX-License-Identifier: GPL-2.0-or-later
// What every write tracker promises, as tests. Define `TrackerFixtures`, a std::tuple of fixture types, and include
// this.
//
// A fixture is a tracker armed on a volume of kContractBlocks blocks that holds data in every block, with
//   WriteTracker& tracker();
//   void write(Extent);          // new content each time; has finished, and is on the device, when it returns
//   void discard(Extent);        // likewise
//   void write_zeroes(Extent);
//   void copied(const DirtySet&);                    // what was drained has been copied: a rescan has to know
//   std::unique_ptr<QuietVolume> quiesce();
//   static constexpr bool takes_concurrent_writes;   // write() may be called while another thread drains
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <tuple>
#include <vector>

#include "engine/write_tracker.h"
#include "tests/catch.h"
#include "tests/support/run_task.h"

namespace vmigrate {

inline constexpr std::uint64_t kContractBlocks = 4096;

template <typename Fixture>
DirtySet drain(Fixture& fixture) {
  DirtySet dirty(kContractBlocks);
  run_task(fixture.tracker().drain_into(dirty));
  fixture.copied(dirty);
  return dirty;
}

template <typename Fixture>
DirtySet drain_rest(Fixture& fixture) {
  const auto quiet = fixture.quiesce();
  DirtySet dirty(kContractBlocks);
  run_task(fixture.tracker().drain_rest_into(dirty, *quiet));
  fixture.copied(dirty);
  return dirty;
}

/// The set is these extents and nothing else.
inline void require_exactly(const DirtySet& dirty, const std::vector<Extent>& extents) {
  DirtySet expected(dirty.block_count());
  for (const auto& extent : extents) expected.add(extent);
  CHECK(dirty.count() == expected.count());
  for (BlockIndex block{0}; block.value < dirty.block_count(); ++block.value)
    if (dirty.contains(block) != expected.contains(block)) FAIL("block " << block.value << " is wrong");
}

TEMPLATE_LIST_TEST_CASE("a tracker on which nothing was written drains nothing", "[tracker]", TrackerFixtures) {
  TestType fixture;
  CHECK(fixture.tracker().geometry().block_count() == kContractBlocks);
  CHECK(drain(fixture).empty());
  CHECK(drain_rest(fixture).empty());
}

TEMPLATE_LIST_TEST_CASE("a write that finished before the drain is in it, and its neighbours are not", "[tracker]",
                        TrackerFixtures) {
  TestType fixture;
  const std::vector<Extent> extents = {{{0}, 1}, {{62}, 4}, {{1000}, 256}, {{2047}, 2}, {{kContractBlocks - 1}, 1}};
  for (const auto& extent : extents) fixture.write(extent);
  require_exactly(drain(fixture), extents);
}

TEMPLATE_LIST_TEST_CASE("a drain takes what it returns", "[tracker]", TrackerFixtures) {
  TestType fixture;
  fixture.write({{7}, 1});
  require_exactly(drain(fixture), {{{7}, 1}});
  CHECK(drain(fixture).empty());
  fixture.write({{7}, 1});
  fixture.write({{9}, 1});
  require_exactly(drain(fixture), {{{7}, 1}, {{9}, 1}});
}

TEMPLATE_LIST_TEST_CASE("a drain adds to what the set held", "[tracker]", TrackerFixtures) {
  TestType fixture;
  fixture.write({{7}, 1});
  DirtySet dirty(kContractBlocks);
  dirty.add(Extent{{100}, 2});
  run_task(fixture.tracker().drain_into(dirty));
  require_exactly(dirty, {{{7}, 1}, {{100}, 2}});
}

TEMPLATE_LIST_TEST_CASE("discards and write-zeroes are writes", "[tracker]", TrackerFixtures) {
  TestType fixture;
  fixture.discard({{256}, 512});
  require_exactly(drain(fixture), {{{256}, 512}});
  fixture.write_zeroes({{1024}, 300});
  require_exactly(drain(fixture), {{{1024}, 300}});
}

TEMPLATE_LIST_TEST_CASE("the whole volume can be written", "[tracker]", TrackerFixtures) {
  TestType fixture;
  fixture.discard({{0}, kContractBlocks});
  CHECK(drain(fixture).count() == kContractBlocks);
}

TEMPLATE_LIST_TEST_CASE("the last drain returns the rest, and after it nothing is left", "[tracker]", TrackerFixtures) {
  TestType fixture;
  fixture.write({{7}, 1});
  CHECK(drain(fixture).count() == 1);
  fixture.write({{8}, 2});
  require_exactly(drain_rest(fixture), {{{8}, 2}});
  CHECK(drain_rest(fixture).empty());
}

TEMPLATE_LIST_TEST_CASE("a write that finishes during a drain is in it or in the next", "[tracker]", TrackerFixtures) {
  if constexpr (TestType::takes_concurrent_writes) {
    TestType fixture;
    constexpr std::uint64_t kWrites = 3000;
    std::atomic<std::uint64_t> finished = 0;
    std::atomic<bool> is_done = false;
    // Block n is written once: a block that is in no drain was lost, and cannot be healed by a later write.
    std::thread writer([&] {
      for (std::uint64_t n = 0; n < kWrites; ++n, finished = n) fixture.write({{n}, 1});
      is_done = true;
    });
    DirtySet seen(kContractBlocks);
    std::uint64_t missing_after_drain = 0;
    while (!is_done) {
      const std::uint64_t finished_before = finished;
      seen.add(drain(fixture));
      for (BlockIndex block{0}; block.value < finished_before; ++block.value)
        missing_after_drain += !seen.contains(block);
    }
    writer.join();
    seen.add(drain_rest(fixture));
    CHECK(missing_after_drain == 0);
    require_exactly(seen, {{{0}, kWrites}});
  } else {
    SUCCEED("one thread only");
  }
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The contract, for the fake that other tests rely on and for the rescan tracker over a volume in memory.
#include <boost/asio/thread_pool.hpp>

#include "base/error.h"
#include "engine/tracker/rescan_tracker.h"
#include "tests/support/fake_tracker.h"
#include "tests/support/memory_volume.h"

namespace vmigrate {
namespace {

constexpr std::uint64_t kBlocks = 4096;

class MemoryFixture {
 public:
  static constexpr bool takes_concurrent_writes = false;
  MemoryFixture() { volume_.write(Extent{{0}, kBlocks}, seed_++); }
  void write(Extent extent) { volume_.write(extent, seed_++); }
  void discard(Extent extent) { volume_.discard(extent); }
  void write_zeroes(Extent extent) { volume_.write_zeroes(extent); }
  std::unique_ptr<QuietVolume> quiesce();

 protected:
  MemoryVolume volume_{kBlocks * kBlockBytes};
  unsigned seed_ = 1;
};

class FakeFixture : public MemoryFixture {
 public:
  WriteTracker& tracker() { return tracker_; }
  void copied(const DirtySet&) {}

 private:
  FakeTracker tracker_{volume_};
};

class RescanFixture : public MemoryFixture {
 public:
  RescanFixture() {
    DirtySet all(kBlocks);
    all.add_all();
    copied(all);
  }
  WriteTracker& tracker() { return tracker_; }
  void copied(const DirtySet& dirty) {
    std::optional<Extent> run;
    for (BlockIndex at{0}; (run = dirty.next_run(at)); at = run->end())
      digests_.update(*run, volume_.content().subspan(run->first.value * kBlockBytes, run->bytes()));
  }

 private:
  asio::thread_pool pool_{1};
  DigestIndex digests_{{kBlocks * kBlockBytes}, std::filesystem::temp_directory_path()};
  RescanTracker tracker_{pool_, volume_, digests_};
};

}  // namespace

using TrackerFixtures = std::tuple<FakeFixture, RescanFixture>;
}  // namespace vmigrate

#include "tests/contract/write_tracker_contract.h"

namespace vmigrate {
namespace {

std::unique_ptr<QuietVolume> MemoryFixture::quiesce() { return run_task(volume_.quiesce()); }

}  // namespace

TEST_CASE("a rescan finds data that became a hole", "[tracker]") {
  RescanFixture fixture;
  fixture.discard({{100}, 50});
  require_exactly(drain(fixture), {{{100}, 50}});
  fixture.discard({{100}, 50});
  CHECK(drain(fixture).empty());
}

TEST_CASE("a rescan calls blocks dirty until they are recorded as copied", "[tracker]") {
  RescanFixture fixture;
  fixture.write({{3}, 1});
  DirtySet dirty(kContractBlocks);
  run_task(fixture.tracker().drain_into(dirty));
  run_task(fixture.tracker().drain_into(dirty));
  require_exactly(dirty, {{{3}, 1}});
  fixture.copied(dirty);
  CHECK(drain(fixture).empty());
}

}  // namespace vmigrate

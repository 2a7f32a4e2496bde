// SPDX-License-Identifier: GPL-2.0-or-later
// The contract on real devices, and what only the kernel's tracker promises.
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include <boost/asio/thread_pool.hpp>
#include <bpf/bpf.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/tracker/bpf_write_tracker.h"
#include "engine/tracker/dirty_map.h"
#include "engine/tracker/rescan_tracker.h"
#include "engine/tracker/tracked_device.h"
#include "engine/tracker_choice.h"
#include "tests/catch.h"
#include "tests/tracker/scratch_device.h"

namespace vmigrate {
namespace {

constexpr std::uint64_t kBlocks = 4096;

/// Before Catch runs anything: ctest shows exit status 77 as "skipped".
const bool kMayRun = [] {
  const auto reason = reason_to_skip_root_tests();
  if (!reason) return true;
  std::printf("SKIPPED: %s\n", reason->c_str());
  std::fflush(stdout);
  ::_exit(77);
}();

std::size_t links_in_the_kernel() {
  std::size_t links = 0;
  for (__u32 id = 0; ::bpf_link_get_next_id(id, &id) == 0;) ++links;
  return links;
}

/// The kernel frees what nobody holds a little later.
bool comes_to(std::size_t links) {
  for (int look = 0; look < 200 && links_in_the_kernel() != links; ++look)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return links_in_the_kernel() == links;
}

/// As a process does that dies while it tracks.
void leave_tracker_behind(const std::filesystem::path& node) {
  const pid_t child = ::fork();
  if (child == 0) {
    asio::thread_pool pool(1);
    BpfWriteTracker tracker(pool, node);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
}

/// Where the kernel's objects of the only tracker of a whole disk are pinned.
std::filesystem::path pins_of(const std::filesystem::path& node) {
  const TrackedDevice device(node);
  const auto end = "-" + std::to_string(device.disk_major()) + "-" + std::to_string(device.disk_minor()) + "-0";
  for (const auto& pins : std::filesystem::directory_iterator("/sys/fs/bpf/vmigrate"))
    if (pins.path().native().ends_with(end)) return pins.path();
  throw std::runtime_error(node.string() + " has no pins");
}

template <typename Device>
class DeviceFixture {
 public:
  static constexpr bool takes_concurrent_writes = true;
  DeviceFixture() { writer_.write({{0}, kBlocks}); }
  void write(Extent extent) { writer_.write(extent); }
  void discard(Extent extent) { writer_.discard(extent); }
  void write_zeroes(Extent extent) { writer_.write_zeroes(extent); }
  std::unique_ptr<QuietVolume> quiesce();

 protected:
  Device device_{kBlocks * kBlockBytes};
  DirectWriter writer_{device_.node()};
  asio::thread_pool pool_{1};
};

template <typename Device>
class BpfFixture : public DeviceFixture<Device> {
 public:
  BpfWriteTracker& tracker() { return tracker_; }
  void copied(const DirtySet&) {}

 private:
  BpfWriteTracker tracker_{this->pool_, this->device_.node()};
};

/// A file behind a loop device whose discards punch holes.
class RescanFixture : public DeviceFixture<LoopDevice> {
 public:
  static constexpr bool takes_concurrent_writes = false;  // copied() has to read before the next write
  RescanFixture() {
    DirtySet all(kBlocks);
    all.add_all();
    copied(all);
  }
  WriteTracker& tracker() { return tracker_; }
  void copied(const DirtySet& dirty) {
    std::vector<std::byte> blocks;
    std::optional<Extent> run;
    for (BlockIndex at{0}; (run = dirty.next_run(at)); at = run->end()) {
      blocks.resize(run->bytes());
      writer_.read(*run, blocks);
      digests_.update(*run, blocks);
    }
  }

 private:
  std::unique_ptr<Volume> volume_ = open_scratch_volume(device_, {});
  DigestIndex digests_{{kBlocks * kBlockBytes}, std::filesystem::temp_directory_path()};
  RescanTracker tracker_{pool_, *volume_, digests_};
};

}  // namespace

using TrackerFixtures = std::tuple<BpfFixture<LoopDevice>, BpfFixture<ZramDevice>, RescanFixture>;
}  // namespace vmigrate

#include "tests/contract/write_tracker_contract.h"

namespace vmigrate {
namespace {

template <typename Device>
std::unique_ptr<QuietVolume> DeviceFixture<Device>::quiesce() {
  return run_task(open_scratch_volume(device_, {})->quiesce());
}

bool contains(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

/// `tracker` reports Errc::tracking_lost at the next drain, and the words of `reason` with it.
void require_lost(WriteTracker& tracker, const std::string& reason) {
  DirtySet dirty(tracker.geometry().block_count());
  try {
    run_task(tracker.drain_into(dirty));
    FAIL("the drain did not fail");
  } catch (const Error& failure) {
    CHECK(failure.code() == Errc::tracking_lost);
    CHECK(contains(failure.what(), reason));
  }
}

DirtySet drained_from(WriteTracker& tracker) {
  DirtySet dirty(tracker.geometry().block_count());
  run_task(tracker.drain_into(dirty));
  return dirty;
}

}  // namespace

TEST_CASE("a partition is tracked within its window", "[tracker][root]") {
  LoopDevice disk(kBlocks * kBlockBytes);
  const auto partition = disk.add_partition(1000 * kBlockBytes, 2000 * kBlockBytes);
  asio::thread_pool pool(1);
  BpfWriteTracker tracker(pool, partition);
  CHECK(tracker.geometry().block_count() == 2000);

  DirectWriter(partition).write({{5}, 2});
  require_exactly(drained_from(tracker), {{{5}, 2}});
  DirectWriter whole_disk(disk.node());
  whole_disk.write({{10}, 1});
  whole_disk.write({{999}, 3});
  whole_disk.write({{2999}, 2});
  require_exactly(drained_from(tracker), {{{0}, 2}, {{1999}, 1}});
}

TEST_CASE("several trackers, of several devices and of one, see their own", "[tracker][root]") {
  LoopDevice first(kBlocks * kBlockBytes), second(kBlocks * kBlockBytes);
  asio::thread_pool pool(1);
  BpfWriteTracker of_first(pool, first.node()), of_second(pool, second.node()), also_of_first(pool, first.node());
  DirectWriter(first.node()).write({{1}, 1});
  DirectWriter(second.node()).write({{2}, 1});
  require_exactly(drained_from(of_first), {{{1}, 1}});
  require_exactly(drained_from(of_second), {{{2}, 1}});
  require_exactly(drained_from(also_of_first), {{{1}, 1}});
}

TEST_CASE("trackers of several devices attach their programs once, until the last of them ends", "[tracker][root]") {
  LoopDevice first(kBlocks * kBlockBytes), second(kBlocks * kBlockBytes);
  asio::thread_pool pool(1);
  const std::size_t without = links_in_the_kernel();
  std::optional<BpfWriteTracker> of_first(std::in_place, pool, first.node());
  const std::size_t with_one = links_in_the_kernel();
  CHECK(with_one == without + (TrackedDevice(first.node()).may_end_in_hard_interrupt() ? 3 : 2));
  std::optional<BpfWriteTracker> of_second(std::in_place, pool, second.node());
  CHECK(links_in_the_kernel() == with_one);
  of_first.reset();
  CHECK(links_in_the_kernel() == with_one);
  DirectWriter(first.node()).write({{1}, 1});
  DirectWriter(second.node()).write({{2}, 1});
  require_exactly(drained_from(*of_second), {{{2}, 1}});
  of_first.emplace(pool, first.node());
  DirectWriter(first.node()).write({{3}, 1});
  require_exactly(drained_from(*of_first), {{{3}, 1}});
  of_first.reset();
  of_second.reset();
  CHECK(comes_to(without));
}

TEST_CASE("a write of part of a block marks the block", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  asio::thread_pool pool(1);
  BpfWriteTracker tracker(pool, device.node());
  std::ofstream(device.node(), std::ios::in | std::ios::out | std::ios::binary).seekp(8 * kBlockBytes + 700)
      << "x" << std::flush;
  DirtySet dirty(kBlocks);
  const auto quiet = run_task(open_scratch_volume(device, {})->quiesce());
  run_task(tracker.drain_rest_into(dirty, *quiet));
  CHECK(dirty.contains({8}));
}

TEST_CASE("another medium in the same device is a lost tracker", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  asio::thread_pool pool(1);
  BpfWriteTracker tracker(pool, device.node());
  device.change_medium();
  require_lost(tracker, "medium");
  DirectWriter(device.node()).write({{1}, 1});
  require_lost(tracker, "medium");
}

TEST_CASE("a write that the programs did not see is found by the kernel's statistics", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  asio::thread_pool pool(1);
  BpfWriteTracker tracker(pool, device.node());
  DirectWriter(device.node()).write({{1}, 8});
  tracker.forget_counts_for_test();
  DirtySet dirty(kBlocks);
  const auto quiet = run_task(open_scratch_volume(device, {})->quiesce());
  try {
    run_task(tracker.drain_rest_into(dirty, *quiet));
    FAIL("the last drain did not fail");
  } catch (const Error& failure) {
    CHECK(failure.code() == Errc::tracking_lost);
    CHECK(contains(failure.what(), "64 sectors written, the tracker saw 0"));
  }
}

TEST_CASE("tracking survives the death of its process", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  const pid_t child = ::fork();
  if (child == 0) {
    asio::thread_pool pool(1);
    BpfWriteTracker tracker(pool, device.node());
    DirectWriter writer(device.node());
    writer.write({{64}, 1});
    drained_from(tracker);
    tracker.forget_drained();   // block 64 is safe elsewhere
    writer.write({{640}, 1});
    drained_from(tracker);             // block 640 was taken, and dies with us
    writer.write({{1280}, 1});
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  DirectWriter(device.node()).write({{1920}, 1});

  asio::thread_pool pool(1);
  const auto tracker = BpfWriteTracker::adopt(pool, device.node());
  const auto dirty = drained_from(*tracker);
  // What was in doubt comes back in units of 64 blocks.
  require_exactly(dirty, {{{640}, 64}, {{1280}, 1}, {{1920}, 1}});
  DirtySet rest(kBlocks);
  const auto quiet = run_task(open_scratch_volume(device, {})->quiesce());
  run_task(tracker->drain_rest_into(rest, *quiet));
  CHECK(rest.empty());
}

TEST_CASE("a bio whose end nobody saw is in the last drain, once", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  asio::thread_pool pool(1);
  BpfWriteTracker tracker(pool, device.node());
  const UniqueFd in_flight(::bpf_obj_get((pins_of(device.node()) / "in_flight").c_str()));
  const vm_bucket bucket{{{.bio = 1, .sector = 64 * kBlockBytes / 512, .sectors = kBlockBytes / 512}}};
  const __u32 first = 0;
  REQUIRE(::bpf_map_update_elem(in_flight.get(), &first, &bucket, BPF_ANY) == 0);
  CHECK(drained_from(tracker).empty());   // it may be on its way
  const auto quiet = run_task(open_scratch_volume(device, {})->quiesce());
  DirtySet rest(kBlocks), nothing(kBlocks);
  run_task(tracker.drain_rest_into(rest, *quiet));
  require_exactly(rest, {{{64}, 64}});
  run_task(tracker.drain_rest_into(nothing, *quiet));
  CHECK(nothing.empty());
}

TEST_CASE("a tracker whose process lives or that ended in order cannot be adopted", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  asio::thread_pool pool(1);
  {
    BpfWriteTracker tracker(pool, device.node());
    REQUIRE(tracker.is_pinned());
    CHECK_THROWS_AS(BpfWriteTracker::adopt(pool, device.node()), Error);
  }
  CHECK_THROWS_AS(BpfWriteTracker::adopt(pool, device.node()), Error);
}

TEST_CASE("what a dead process left is not adopted with a map missing", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  leave_tracker_behind(device.node());
  CHECK(std::filesystem::remove(pins_of(device.node()) / "unsure"));
  asio::thread_pool pool(1);
  try {
    BpfWriteTracker::adopt(pool, device.node());
    FAIL("it was adopted");
  } catch (const Error& failure) {
    CHECK(failure.code() == Errc::tracking_lost);
  }
}

TEST_CASE("a new tracker removes what a dead process left on its device", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  leave_tracker_behind(device.node());
  asio::thread_pool pool(1);
  BpfWriteTracker tracker(pool, device.node());
  CHECK(tracker.is_pinned());
  CHECK(drained_from(tracker).empty());
}

TEST_CASE("without bpffs tracking works and ends with its process", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  asio::thread_pool pool(1);
  BpfWriteTracker tracker(pool, device.node(), {.bpffs = "/nonexistent"});
  CHECK_FALSE(tracker.is_pinned());
  DirectWriter(device.node()).write({{1}, 1});
  require_exactly(drained_from(tracker), {{{1}, 1}});
}

TEST_CASE("a device that can be written behind its back is refused, with the reason", "[tracker][root]") {
  asio::thread_pool pool(1);
  const auto reason_for = [&](const std::filesystem::path& node) -> std::string {
    try {
      BpfWriteTracker tracker(pool, node);
      return "none";
    } catch (const Error& failure) {
      CHECK(failure.code() == Errc::tracker_unavailable);
      return failure.what();
    }
  };
  LoopDevice device(kBlocks * kBlockBytes);
  CHECK(reason_for(device.node()) == "none");
  CHECK(contains(reason_for("/dev/null"), "Block device required"));
  LoopDevice::Second second(device);
  CHECK(contains(reason_for(device.node()), "writes to the same file"));
}

TEST_CASE("the automatic choice falls back to comparing, and says why", "[tracker][root]") {
  LoopDevice device(kBlocks * kBlockBytes);
  asio::thread_pool pool(1);
  const auto volume = open_scratch_volume(device, {});
  DigestIndex digests({kBlocks * kBlockBytes}, std::filesystem::temp_directory_path());
  const MountedDevice mounted{device.node(), {}, {}, device.file()};
  CHECK(arm_tracker(TrackerKind::automatic, pool, mounted, *volume, digests).tracker->name() == "bpf");
  CHECK(arm_tracker(TrackerKind::rescan, pool, mounted, *volume, digests).tracker->name() == "rescan");
  LoopDevice::Second second(device);
  const auto armed = arm_tracker(TrackerKind::automatic, pool, mounted, *volume, digests);
  CHECK(armed.tracker->name() == "rescan");
  CHECK(contains(armed.remark, "writes to the same file"));
  CHECK_THROWS_AS(arm_tracker(TrackerKind::bpf, pool, mounted, *volume, digests), Error);
}

TEST_CASE("a device of 16 TiB is tracked in bounded memory", "[tracker][root]") {
  constexpr std::uint64_t kBytes = (std::uint64_t{16} << 40) - (std::uint64_t{2} << 30);
  std::unique_ptr<LoopDevice> device;
  try {
    device = std::make_unique<LoopDevice>(kBytes, "/dev/shm");
  } catch (const Error& failure) {
    WARN("SKIPPED: no file system for a file of 16 TiB: " << failure.what());
    return;
  }
  const auto resident_pages = [] {
    std::uint64_t all = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> all >> resident;
    return resident;
  };
  asio::thread_pool pool(1);
  const auto before = resident_pages();
  BpfWriteTracker tracker(pool, device->node());
  DirectWriter writer(device->node());
  writer.write({{4'000'000'000}, 1});
  writer.discard({{1'000'000}, 3'000'000});
  const auto dirty = drained_from(tracker);
  CHECK(dirty.contains({4'000'000'000}));
  CHECK(dirty.contains({1'000'000}));
  CHECK(dirty.contains({3'999'999}));
  CHECK(dirty.count() <= 3'000'000 + 3 * 16);  // one bit is sixteen blocks here
  CHECK((resident_pages() - before) * 4096 < (std::uint64_t{32} << 20));
}

}  // namespace vmigrate

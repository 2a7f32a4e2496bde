// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/tracker/bpf_write_tracker.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/tracker/tracker_objects.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;
using SteadyTime = std::chrono::steady_clock;

constexpr auto kInFlightTimeout = 10s;  // a healthy device answers; longer than any loop or virtio hiccup seen
constexpr auto kBaselineTimeout = 50ms;  // most devices have a still moment by then
constexpr auto kQuietArmTimeout = 5s;
constexpr auto kSubmissionTime = 10ms;  // at most, from the tracepoint of submission to the in-flight count

std::atomic_ref<std::uint64_t> atomic(std::uint64_t& word) { return std::atomic_ref<std::uint64_t>(word); }
std::uint64_t load(const __u64& word) { return __atomic_load_n(&word, __ATOMIC_SEQ_CST); }

[[noreturn]] void lost(const TrackedDevice& device, const std::string& why) {
  throw Error(Errc::tracking_lost,
              "the write tracker of " + device.node().string() + " cannot vouch for its map: " + why);
}

void wait_until_nothing_is_in_flight(const TrackedDevice& device, SteadyTime::time_point deadline) {
  while (device.writes_in_flight() != 0) {
    if (SteadyTime::now() > deadline) lost(device, "writes are still in flight at the deadline");
    std::this_thread::sleep_for(500us);
  }
}

/// A bio that was submitted before the programs were attached is unknown to them and ends unmarked: wait until there is
/// none.
void wait_for_unknown_bios(const TrackedDevice& device) {
  const auto deadline = SteadyTime::now() + kQuietArmTimeout;
  std::this_thread::sleep_for(kSubmissionTime);
  while (device.writes_in_flight() != 0) {
    if (SteadyTime::now() > deadline)
      throw Error(Errc::tracker_unavailable, device.node().string() + " never had a moment without writes in flight");
    std::this_thread::sleep_for(100us);
  }
}

std::span<vm_copy_count> counts_of(vm_state& state) { return {state.counts[0], VM_LEVELS * VM_COPIES_MAX}; }

struct Sample {
  std::array<std::uint64_t, VM_LEVELS * VM_COPIES_MAX> counted;   // in the order of counts_of()
  std::optional<std::uint64_t> written;
};

/// Our count, then 2 ms later the statistics: longer than a completion takes from its tracepoint to the statistics.
Sample take_sample(const TrackedDevice& device, vm_state& state) {
  Sample sample;
  std::ranges::transform(counts_of(state), sample.counted.begin(), [](auto& count) { return load(count.sectors); });
  std::this_thread::sleep_for(2ms);
  sample.written = device.sectors_written();
  return sample;
}

/// Since the baseline, by the copy that saw most.
std::uint64_t seen_on(std::span<const vm_copy_count, VM_COPIES_MAX> level) {
  std::uint64_t most = 0;
  for (const auto& copy : level) most = std::max(most, load(copy.sectors) - load(copy.baseline));
  return most;
}

/// Notes where the kernel's statistics stand. Best at a moment at which nothing is written: then statistics and our
/// count start equal. On a device that is never still, our count starts a little earlier than the statistics. That can
/// hide a loss of the size of what was written in between, and never raises a false alarm.
void take_baseline(const TrackedDevice& device, vm_state& state) {
  const auto deadline = SteadyTime::now() + kBaselineTimeout;
  auto sample = take_sample(device, state);
  bool is_still = false;
  while (!is_still && SteadyTime::now() < deadline) {
    const auto before = std::exchange(sample, take_sample(device, state));
    is_still = before.counted == sample.counted && before.written == sample.written && device.writes_in_flight() == 0;
    // The statistics know a bio only when it ends, long after we counted it: on a busy device, count from the start.
    if (!is_still && device.is_bio_based()) sample.counted.fill(0);
  }
  if (!sample.written) return;
  for (std::size_t at = 0; at < sample.counted.size(); ++at) counts_of(state)[at].baseline = sample.counted[at];
  state.baseline_sectors = *sample.written;
  state.baseline_is_known = 1;
  state.baseline_is_exact = is_still;
}

TrackedDevice find_trackable(const std::filesystem::path& node) {
  try {
    TrackedDevice device(node);
    if (const auto reason = device.reason_not_to_track())
      throw Error(Errc::tracker_unavailable, "writes to " + node.string() + " cannot be tracked: " + *reason);
    return device;
  } catch (const std::filesystem::filesystem_error& failure) {
    throw Error(Errc::tracker_unavailable, failure.what());
  } catch (const Error& failure) {
    if (failure.code() == Errc::tracker_unavailable) throw;
    throw Error(Errc::tracker_unavailable, failure.what());
  }
}

}  // namespace

BpfWriteTracker::BpfWriteTracker(asio::thread_pool& pool, TrackedDevice device, std::unique_ptr<TrackerObjects> objects)
    : pool_(pool), device_(std::move(device)), objects_(std::move(objects)) {}

BpfWriteTracker::BpfWriteTracker(asio::thread_pool& pool, const std::filesystem::path& device)
    : BpfWriteTracker(pool, device, Options()) {}

BpfWriteTracker::BpfWriteTracker(asio::thread_pool& pool, const std::filesystem::path& device, const Options& options)
    : pool_(pool), device_(find_trackable(device)) {
  objects_ = TrackerObjects::load(device_, {options.mark_at == MarkAt::issue, options.bpffs});
  if (device_.is_bio_based()) wait_for_unknown_bios(device_);
  take_baseline(device_, objects_->state());
}

std::unique_ptr<BpfWriteTracker> BpfWriteTracker::adopt(asio::thread_pool& pool, const std::filesystem::path& device) {
  return adopt(pool, device, Options());
}

std::unique_ptr<BpfWriteTracker> BpfWriteTracker::adopt(asio::thread_pool& pool, const std::filesystem::path& node,
                                                        const Options& options) {
  TrackedDevice device = find_trackable(node);
  auto objects = TrackerObjects::take_over(device, options.bpffs);
  const auto& state = objects->state();
  const bool is_same_medium = state.config.start == device.start() &&
                              state.config.end == device.start() + device.sectors() &&
                              state.config.diskseq == device.identity().diskseq &&
                              state.backing_device == device.identity().backing_device &&
                              state.backing_inode == device.identity().backing_inode;
  if (!is_same_medium) lost(device, "it carries another medium now");
  std::unique_ptr<BpfWriteTracker> tracker(new BpfWriteTracker(pool, std::move(device), std::move(objects)));
  tracker->mark_pending();
  return tracker;
}

/// What was drained and not acknowledged is dirty again, in units of a word.
void BpfWriteTracker::mark_pending() {
  const auto pending = objects_->pending();
  for (std::uint64_t first = 0; first < objects_->dirty_words();) {
    const MapWindow window = objects_->map_dirty(first);
    for (std::uint64_t at = 0; at < window.words().size(); ++at) {
      const auto index = first + at;
      if (pending[index / 64] >> index % 64 & 1) atomic(window.words()[at]).store(~std::uint64_t{0});
    }
    first += window.words().size();
  }
}

BpfWriteTracker::~BpfWriteTracker() = default;

VolumeGeometry BpfWriteTracker::geometry() const { return {device_.sectors() * 512}; }
bool BpfWriteTracker::is_pinned() const { return objects_->is_pinned(); }

Task<> BpfWriteTracker::drain_into(DirtySet& out) {
  co_await offload(pool_, [this, &out] {
    check_medium();
    drain_words(out);
    check_flags();
  });
}

Task<> BpfWriteTracker::drain_rest_into(DirtySet& out, const QuietVolume&) {
  co_await offload(pool_, [this, &out] { drain_rest(out); });
}

/// The device may have been written through its own node, too: what its page cache holds has to land first.
void BpfWriteTracker::drain_rest(DirtySet& out) {
  check_medium();
  const UniqueFd node(
      check_syscall(::open(device_.node().c_str(), O_RDONLY | O_CLOEXEC), "open", device_.node().native()));
  check_syscall(::fsync(node.get()), "fsync", device_.node().native());
  const auto deadline = SteadyTime::now() + kInFlightTimeout;
  std::uint64_t counted_before = 0;
  do {  // discards that a held file system still has queued may start at any time
    wait_until_nothing_is_in_flight(device_, deadline);
    counted_before = counted();
    if (swept_.counted != counted_before) {
      swept_ = {.counted = counted_before};
      if (knows_of_bios()) {   // whose end nobody will see has to land before it is handed out, and read
        std::this_thread::sleep_for(kSubmissionTime);
        wait_until_nothing_is_in_flight(device_, deadline);
      }
    }
    take_in_flight(out);  // first: a bio that ends meanwhile is remembered still, or marked
    take_unsure(out);
    drain_words(out);
  } while (counted() != counted_before || device_.writes_in_flight() != 0);
  check_flags();
  if (!check_against_statistics()) check_every_copy_was_not_skipped();
}

void BpfWriteTracker::check_medium() const {
  if (device_.identity_now() != device_.identity()) lost(device_, "it carries another medium now");
}

void BpfWriteTracker::check_flags() const {
  const auto flags = load(objects_->state().lost);
  if (flags & VM_LOST_PASSTHROUGH) lost(device_, "a command was sent past the block layer");
  if (flags & VM_LOST_DISKSEQ) lost(device_, "it carried another medium meanwhile");
  if (flags & VM_LOST_DEPTH) lost(device_, "the kernel may have skipped an event");
  if (flags & VM_LOST_CHAIN) lost(device_, "a discard had too many pieces");
  if (flags != 0) lost(device_, "a write lay outside the map");
}

/// Every event was seen by all copies that it needs, but those that were busy. If one never was, nothing was missed.
/// Events of all disks count, so where other disks interrupt a lot this doubts without need: it is asked only where the
/// statistics cannot tell of each sector.
void BpfWriteTracker::check_every_copy_was_not_skipped() const {
  for (const auto& [tracepoint, skips] : objects_->writes_skipped())
    if (skips != 0) lost(device_, "each copy of its program missed an event of " + tracepoint);
}

/// The kernel's statistics are kept by other code: they find what our own bookkeeping cannot. The tracepoints come
/// first, so read in this order our count cannot lag behind. False if they do not know of each sector.
bool BpfWriteTracker::check_against_statistics() const {
  auto& state = objects_->state();
  const auto written = device_.sectors_written();
  if (!written || !load(state.baseline_is_known)) return false;
  const auto by_statistics = *written - state.baseline_sectors;
  std::uint64_t by_us = 0;
  for (const auto& level : state.counts) by_us += seen_on(level);
  if (by_statistics > by_us)
    lost(device_, "the kernel counts " + std::to_string(by_statistics) + " sectors written, the tracker saw " +
                      std::to_string(by_us));
  return load(state.baseline_is_exact) != 0;
}

/// Per word: first note that it is being taken, then take it. A process that dies in between leaves the note, which
/// costs its successor 64 blocks and loses none.
void BpfWriteTracker::drain_words(DirtySet& out) {
  const auto words = objects_->dirty_words();
  const auto pending = objects_->pending();
  for (std::uint64_t first = 0; first < words;) {
    const MapWindow window = objects_->map_dirty(first);
    for (std::uint64_t& word : window.words()) {
      const auto index = first + static_cast<std::uint64_t>(&word - window.words().data());
      if (atomic(word).load(std::memory_order_relaxed) == 0) continue;
      atomic(pending[index / 64]).fetch_or(std::uint64_t{1} << index % 64);
      add_bits(out, index, atomic(word).exchange(0));
    }
    first += window.words().size();
  }
}

void BpfWriteTracker::add_bits(DirtySet& out, std::uint64_t word_index, std::uint64_t bits) const {
  const auto blocks_per_bit = std::uint64_t{512} << objects_->state().config.shift >> std::countr_zero(kBlockBytes);
  const auto first = word_index * VM_WORD_BLOCKS;
  const auto blocks = geometry().block_count();
  if (first * blocks_per_bit >= blocks) return;  // the map is whole pages, and adopt() marks whole words
  if (blocks_per_bit == 1 && first + VM_WORD_BLOCKS <= blocks) {
    out.add_word({first}, bits);
    return;
  }
  // Run by run: whoever trims a large volume sets all of its bits.
  for (unsigned at = 0; at < VM_WORD_BLOCKS && bits >> at != 0;) {
    at += static_cast<unsigned>(std::countr_zero(bits >> at));
    const auto run = static_cast<unsigned>(std::countr_one(bits >> at));
    out.add(Extent{{(first + at) * blocks_per_bit}, run * blocks_per_bit});
    at += run;
  }
}

/// Bios whose end nobody saw, because a driver below sent them on to another queue or the kernel skipped the program.
/// Those that have not landed yet are remembered on, and marked when they end.
void BpfWriteTracker::take_in_flight(DirtySet& out) {
  const auto& config = objects_->state().config;
  for (const auto& range : objects_->in_flight()) {
    if (!swept_.bios.insert({range.bio, range.sector, range.sectors}).second) continue;
    const auto first = std::max<std::uint64_t>(range.sector, config.start);
    const auto end = std::min<std::uint64_t>(range.sector + range.sectors, config.end);
    if (first >= end) continue;
    const auto last_word = (end - 1 - config.start) >> config.shift >> 6;
    for (auto word = (first - config.start) >> config.shift >> 6; word <= last_word; ++word) {
      atomic(objects_->pending()[word / 64]).fetch_or(std::uint64_t{1} << word % 64);
      add_bits(out, word, ~std::uint64_t{0});
    }
  }
}

bool BpfWriteTracker::knows_of_bios() const {
  return !objects_->in_flight().empty() || std::ranges::any_of(objects_->unsure(), [](auto word) { return word != 0; });
}

/// A chunk is 64 words of the map: one word of `pending`.
void BpfWriteTracker::take_unsure(DirtySet& out) {
  const auto unsure = objects_->unsure();
  for (std::uint64_t chunk = 0; chunk < unsure.size(); ++chunk) {
    if (atomic(unsure[chunk]).load(std::memory_order_relaxed) == 0) continue;
    if (!swept_.chunks.insert(chunk).second) continue;
    atomic(objects_->pending()[chunk]).store(~std::uint64_t{0});
    for (std::uint64_t word = chunk * 64; word < chunk * 64 + 64; ++word) add_bits(out, word, ~std::uint64_t{0});
  }
}

void BpfWriteTracker::forget_drained() {
  for (auto& word : objects_->pending()) atomic(word).store(0);
}

void BpfWriteTracker::forget_counts_for_test() {
  for (auto& count : counts_of(objects_->state())) count.baseline = count.sectors;
}

std::uint64_t BpfWriteTracker::counted() const {
  std::uint64_t sum = 0;
  for (const auto& count : counts_of(objects_->state())) sum += load(count.sectors);
  return sum;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/volume_copier.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/assert.h"
#include "base/error.h"

namespace vmigrate {
namespace {

constexpr std::size_t kLastRoundBytesMax = std::size_t{2} << 20;   // beyond that, neighbours of hot blocks count as hot
constexpr int kFinalPassesMax = 3;  // each pass waits for writes in flight, so only online discards can come after one

}  // namespace

VolumeCopier::VolumeCopier(Parts parts)
    : parts_(parts),
      tracker_(&parts.tracker),
      pending_(parts.from.geometry().block_count()),
      hot_(pending_.block_count()),
      last_round_(pending_.block_count(), kLastRoundBytesMax) {
  MIGRATE_ASSERT(tracker_->geometry() == parts_.from.geometry());
  MIGRATE_ASSERT(!parts_.lanes.empty());
  pending_.add_all();
}

Task<RoundStats> VolumeCopier::copy_round() {
  auto stats = begin_round();
  const auto start = parts_.clock.now();
  take_back_hot();
  // Everything is pending in round 1, and what was drained before would only be looked at twice.
  if (rounds_done_ > 0) co_await drain_live();
  if (rounds_done_ > 0 && tracker_->forgets()) set_hot_aside();
  co_await copy_pending(stats);
  if (!hot_.empty() && !is_ending_early_) co_await copy_hot(stats);
  take_back_hot();
  co_await parts_.barrier.flush();
  stats.duration = parts_.clock.now() - start;
  ++rounds_done_;
  co_await drain_live();
  stats.bytes_left = co_await bytes_left();
  is_ending_early_ = false;
  co_return stats;
}

void VolumeCopier::end_round_early() noexcept {
  is_ending_early_ = true;
  if (end_copy_early_) end_copy_early_();
}

Task<RoundStats> VolumeCopier::copy_final_round(const QuietVolume& quiet) {
  is_ending_early_ = false;
  auto stats = begin_round();
  const auto start = parts_.clock.now();
  take_back_hot();
  for (int pass = 0;; ++pass) {
    co_await tracker_->drain_rest_into(pending_, quiet);
    if (pending_.empty()) break;
    if (pass == kFinalPassesMax) throw Error(Errc::copy_failed, "something writes to the volume although it is frozen");
    if (pass > 0) co_await parts_.barrier.settle();   // these may have been handed on in the pass before
    co_await copy_pending(stats);
  }
  co_await parts_.barrier.flush();
  stats.duration = parts_.clock.now() - start;
  ++rounds_done_;
  co_return stats;
}

Task<RoundStats> VolumeCopier::copy_differences() {
  auto stats = begin_round();
  stats.compares = true;
  const auto start = parts_.clock.now();
  pending_.add_all();
  hot_.clear();
  co_await parts_.barrier.settle();   // a pass of the final round may have handed on some of these
  co_await copy_pending(stats);
  co_await parts_.barrier.flush();
  stats.duration = parts_.clock.now() - start;
  ++rounds_done_;
  if (is_ending_early_) stats.bytes_left = co_await bytes_left();
  is_ending_early_ = false;
  co_return stats;
}

void VolumeCopier::replace_tracker(WriteTracker& tracker) {
  MIGRATE_ASSERT(tracker.geometry() == parts_.from.geometry());
  tracker_ = &tracker;
}

RoundStats VolumeCopier::begin_round() const {
  RoundStats stats;
  stats.round = rounds_done_ + 1;
  return stats;
}

/// Pages that the kernel has not written yet are writes that no tracker saw: they would all come during the freeze.
Task<> VolumeCopier::drain_live() {
  co_await parts_.from.write_back();
  co_await tracker_->drain_into(pending_);
}

void VolumeCopier::set_hot_aside() {
  hot_ = pending_.common_with(last_round_);
  last_round_.clear();
  last_round_.add(pending_);
  pending_.remove_all_of(hot_);
}

Task<> VolumeCopier::copy_hot(RoundStats& stats) {
  co_await tracker_->drain_into(pending_);
  hot_.remove_all_of(pending_);
  std::swap(hot_, pending_);       // pending now, and pending in the next round
  co_await parts_.barrier.settle();     // sets that took more than they were given may overlap
  co_await copy_pending(stats);
}

/// Also after a round that failed half-way.
void VolumeCopier::take_back_hot() {
  pending_.add(hot_);
  hot_.clear();
}

/// Of what was written just now hardly anything is a hole; of the rest of round 1 nearly everything may be.
Task<std::uint64_t> VolumeCopier::bytes_left() {
  if (!is_ending_early_) co_return pending_.count() * kBlockBytes;
  co_return co_await offload(parts_.pool, [this] { return pending_data_bytes(); });
}

std::uint64_t VolumeCopier::pending_data_bytes() const {
  std::uint64_t blocks = 0;
  BlockIndex at;
  while (const auto run = pending_.next_run(at)) {
    const auto data = parts_.from.next_data(run->first);
    if (!data) break;
    const auto first = std::max(run->first, data->first);
    const auto end = std::min(run->end(), data->end());
    if (first < end) blocks += end.value - first.value;
    at = std::max(first, end);
  }
  return blocks * kBlockBytes;
}

/// On failure some of it was handed on all the same: the digests tell which.
Task<> VolumeCopier::copy_pending(RoundStats& stats) {
  if (is_ending_early_) co_return;
  auto blocks = std::exchange(pending_, DirtySet(pending_.block_count()));
  stats.blocks_dirty += blocks.count();
  ParallelCopy copy({parts_.from, parts_.digests, parts_.lanes});
  std::exception_ptr failure;
  end_copy_early_ = [&copy] { copy.end_early(); };
  try {
    co_await copy.copy(blocks);
  } catch (...) {
    failure = std::current_exception();
  }
  end_copy_early_ = {};
  if (!failure && is_ending_early_) blocks.remove({{0}, copy.totals().copied_until.value});
  if (failure || is_ending_early_) pending_.add(blocks);
  if (failure) std::rethrow_exception(failure);
  stats.data_bytes += copy.totals().data_bytes;
  stats.zero_bytes += copy.totals().zero_bytes;
}

}  // namespace vmigrate

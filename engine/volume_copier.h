// SPDX-License-Identifier: GPL-2.0-or-later
// One round: drain, read, hand on, measure.
#pragma once

#include <functional>

#include "base/clock.h"
#include "engine/block_io.h"
#include "engine/convergence.h"
#include "engine/digest_index.h"
#include "engine/parallel_copy.h"
#include "engine/volume.h"
#include "engine/write_tracker.h"

namespace vmigrate {

/// Copies what changed, one round per call. The loop, and the decision to end it, belong to the caller.
/// Each lane holds one batch at a time, so memory does not depend on the volume's size.
class VolumeCopier {
 public:
  struct Parts {
    WriteTracker& tracker;  ///< armed before construction, so that round 1 misses nothing
    Volume& from;
    WriteBarrier& barrier;            ///< for what all lanes wrote together
    DigestIndex& digests;             ///< of what was handed on
    Clock& clock;
    asio::thread_pool& pool;          ///< looks for holes in what is left
    std::span<const CopyLane> lanes;  ///< where the blocks go: at least one
  };
  explicit VolumeCopier(Parts parts);

  /// Round 1 looks at every block that may hold data; later rounds look at what was written meanwhile. A block is
  /// handed on when it differs from what `digests` recorded as handed on before, zeroes included: the copy and
  /// `digests` must agree when round 1 begins, be it as zeroes. Ends with barrier.flush(), then drains: bytes_left is
  /// what the next round starts with. wire_bytes is left to the caller. On failure the round may be copied in part, and
  /// all of it stays dirty: another call looks at it again, and hands on what was not handed on. After a failed flush()
  /// nobody knows what the copy holds: start again with a new one.
  /// Blocks that the round before looked at as well come last, and only if nobody wrote them meanwhile: what is written
  /// in every round would be sent in vain in each but the last.
  Task<RoundStats> copy_round();
  /// The live round under way, or else the next one, hands on what is on its way and no more, and then ends as every
  /// round does. What was not handed on stays dirty, what was is not read again, and bytes_left is the data
  /// among what is dirty. On the executor of copy_round().
  void end_round_early() noexcept;
  /// The last round, after which nothing is left. The argument is the proof that this can be true. Online discards may
  /// still trickle in, so it drains again until nothing comes; Error(Errc::copy_failed) if that does not end.
  Task<RoundStats> copy_final_round(const QuietVolume& quiet);
  /// After Errc::tracking_lost: reads everything and hands on what differs from `digests`. With a quiet volume the
  /// result is complete; otherwise a fresh tracker must have been armed before (see replace_tracker). Drains nothing,
  /// so bytes_left is not measured: 0, or what was not compared if it ended early.
  Task<RoundStats> copy_differences();
  void replace_tracker(WriteTracker& tracker);

 private:
  RoundStats begin_round() const;
  Task<std::uint64_t> bytes_left();
  std::uint64_t pending_data_bytes() const;
  Task<> drain_live();
  void set_hot_aside();
  Task<> copy_hot(RoundStats& stats);
  void take_back_hot();
  Task<> copy_pending(RoundStats& stats);

  Parts parts_;
  WriteTracker* tracker_;  ///< parts_.tracker until it is replaced
  DirtySet pending_;
  DirtySet hot_;          ///< pending too, but not yet
  DirtySet last_round_;   ///< what the latest round looked at; round 1 counts as nothing
  bool is_ending_early_ = false;
  std::function<void()> end_copy_early_;   ///< while one is under way
  std::uint32_t rounds_done_ = 0;
};

}  // namespace vmigrate

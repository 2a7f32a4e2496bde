// SPDX-License-Identifier: GPL-2.0-or-later
// When is it enough? A pure function of the rounds so far.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/clock.h"

namespace vmigrate {

/// What one round did, measured, not estimated.
struct RoundStats {
  std::uint32_t round = 0;         ///< 1 is the full copy
  std::uint64_t blocks_dirty = 0;  ///< blocks this round had to look at
  std::uint64_t data_bytes = 0;    ///< of these, bytes sent as data (before compression)
  std::uint64_t zero_bytes = 0;    ///< of these, bytes sent as "reads as zeroes" or skipped because never written
  std::uint64_t wire_bytes = 0;    ///< bytes that went over the wire, headers included
  Duration duration{};             ///< drain to acknowledgement
  std::uint64_t bytes_left = 0;    ///< written meanwhile: what the next round has to look at
  bool has_waited = false;         ///< for another container of the host: what it left tells of that, not of this one
  unsigned throttle_percent = 0;   ///< how much less CPU time the container got meanwhile
  bool compares = false;           ///< with what the destination had: most of its time went into reading
};

enum class Verdict { copy_again, throttle, freeze_now, give_up };
enum class OnStall { freeze, abort };
/// What to do when the time is over in which it should have been frozen.
enum class TimeoutAction { cancel, freeze };

/// A decision and, for the log and the operator, its reason in half a sentence.
struct Decision {
  Verdict verdict;
  std::string reason;
  unsigned throttle_percent = 0;   ///< for the next rounds, with Verdict::throttle
};

/// No clock, no logging, no state: any migration can be replayed from its report.
struct ConvergencePolicy {
  Duration downtime_max;            ///< --max-downtime
  std::uint32_t rounds_max = 10;    ///< --max-rounds
  OnStall on_stall = OnStall::freeze;
  bool throttles = false;           ///< --auto-converge, and the container can be throttled
  Duration fixed_downtime{};        ///< dump, restore and round trips, as known before the freeze
  std::uint64_t memory_bytes = 0;   ///< checkpoint to be sent while frozen, as known before the freeze
  /// --switchover-bandwidth. The operator's word, so it counts even where rounds were faster or slower: they may have
  /// been held back by --bandwidth. 0: what is sent while frozen goes as fast as the rounds did.
  std::uint64_t frozen_bytes_per_second = 0;

  /// The downtime if the freeze came now: blocks compress as those of the rounds did, and memory not at all, once
  /// rounds have filled the link for a while. `rounds` is not empty.
  Duration estimated_downtime(std::span<const RoundStats> rounds) const;
  /// After the last of `rounds` (not empty): freeze_now when the estimate fits downtime_max, or there is nothing left;
  /// at the round cap or when the dirty set stopped shrinking, throttle as long as there is a further step, then what
  /// on_stall says; copy_again otherwise.
  Decision decide(std::span<const RoundStats> rounds) const;
  /// When there is no time for another round: freeze_now if the estimate fits `freeze_timeout`, since a freeze that is
  /// sure to be rolled back helps nobody; give_up otherwise, and when `rounds` is empty.
  Decision decide_at_once(std::span<const RoundStats> rounds, Duration freeze_timeout) const;
};

}  // namespace vmigrate

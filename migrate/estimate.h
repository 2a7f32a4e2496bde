// SPDX-License-Identifier: GPL-2.0-or-later
// What a migration would be like, from a few seconds of watching. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/clock.h"
#include "engine/block.h"
#include "engine/convergence.h"

namespace vmigrate {

/// How many different bytes were written within the first `elapsed` of the sample. Grows, and flattens where the same
/// blocks are written again and again.
struct DirtySample {
  Duration elapsed{};
  std::uint64_t bytes = 0;
};

struct EstimateInput {
  std::uint64_t used_bytes = 0;
  std::uint64_t memory_bytes = 0;
  double bytes_per_second = 0;         ///< of the link, over the real TLS path
  Duration round_trip{};
  std::vector<DirtySample> samples;    ///< in the order of time, not empty
  ConvergencePolicy policy;
};

struct Estimate {
  std::vector<RoundStats> rounds;      ///< as predicted
  bool converges = false;
  std::string reason;                  ///< of the last decision
  Duration downtime{};
  Duration total{};
};

/// Plays the real convergence policy on predicted rounds.
Estimate estimate(const EstimateInput& input);
/// Different bytes written within `elapsed`: interpolated within the sample, continued with its last slope beyond it,
/// and never more than `bytes_max`.
std::uint64_t dirty_bytes_after(const std::vector<DirtySample>& samples, Duration elapsed, std::uint64_t bytes_max);

nlohmann::json to_json(const Estimate& estimate, const EstimateInput& input);

}  // namespace vmigrate

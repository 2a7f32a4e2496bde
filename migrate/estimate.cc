// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/estimate.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }
Duration from_seconds(double value) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value));
}

/// Less CPU time is taken for as much less to write.
RoundStats predict_round(const EstimateInput& input, std::uint32_t number, std::uint64_t bytes, unsigned throttle) {
  RoundStats round;
  round.round = number;
  round.blocks_dirty = bytes / kBlockBytes;
  round.data_bytes = bytes;
  round.wire_bytes = bytes;
  round.duration = from_seconds(static_cast<double>(bytes) / input.bytes_per_second) + input.round_trip;
  round.bytes_left = dirty_bytes_after(input.samples, round.duration, input.used_bytes) * (100 - throttle) / 100;
  round.throttle_percent = throttle;
  return round;
}

}  // namespace

std::uint64_t dirty_bytes_after(const std::vector<DirtySample>& samples, Duration elapsed, std::uint64_t bytes_max) {
  MIGRATE_ASSERT(!samples.empty());
  DirtySample before;
  DirtySample after = samples.front();
  for (std::size_t next = 1; next < samples.size() && after.elapsed < elapsed; ++next) {
    before = after;
    after = samples[next];
  }
  const double span = seconds(after.elapsed - before.elapsed);
  const double slope = span > 0 ? static_cast<double>(after.bytes - before.bytes) / span : 0;
  const double bytes = static_cast<double>(before.bytes) + slope * seconds(elapsed - before.elapsed);
  return std::min(bytes_max, static_cast<std::uint64_t>(std::max(0.0, bytes)));
}

Estimate estimate(const EstimateInput& input) {
  MIGRATE_ASSERT(input.bytes_per_second > 0);
  Estimate result;
  std::uint64_t bytes = input.used_bytes;
  Decision decision{Verdict::copy_again, {}};
  unsigned throttle = 0;
  for (std::uint32_t number = 1;
       decision.verdict == Verdict::copy_again || decision.verdict == Verdict::throttle; ++number) {
    if (decision.verdict == Verdict::throttle) throttle = decision.throttle_percent;
    result.rounds.push_back(predict_round(input, number, bytes, throttle));
    result.total += result.rounds.back().duration;
    bytes = result.rounds.back().bytes_left;
    decision = input.policy.decide(result.rounds);
  }
  result.reason = decision.reason;
  result.downtime = input.policy.estimated_downtime(result.rounds);
  result.converges = result.downtime <= input.policy.downtime_max;
  result.total += result.downtime;
  return result;
}

nlohmann::json to_json(const Estimate& estimate, const EstimateInput& input) {
  nlohmann::json rounds = nlohmann::json::array();
  for (const auto& round : estimate.rounds) rounds.push_back(to_json(round));
  return {{"used_bytes", input.used_bytes},
          {"memory_bytes", input.memory_bytes},
          {"bandwidth_bytes_per_second", static_cast<std::uint64_t>(input.bytes_per_second)},
          {"round_trip_ms", seconds(input.round_trip) * 1000},
          {"dirty_bytes_per_second",
           static_cast<std::uint64_t>(static_cast<double>(input.samples.back().bytes) /
                                      std::max(1e-9, seconds(input.samples.back().elapsed)))},
          {"rounds", rounds},
          {"converges", estimate.converges},
          {"reason", estimate.reason},
          {"expected_downtime_ms", seconds(estimate.downtime) * 1000},
          {"total_seconds", seconds(estimate.total)}};
}

}  // namespace vmigrate

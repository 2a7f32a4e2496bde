// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/convergence.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <optional>

#include "base/assert.h"

namespace vmigrate {
namespace {

/// Rounds that together moved this much tell the link's bandwidth; one small round tells only its fixed cost.
constexpr std::uint64_t kBandwidthSampleBytes = std::uint64_t{64} << 20;
/// The dirty set stopped shrinking when this many rounds in a row left more than 95 % of the least that was left
/// before.
constexpr std::size_t kStalledRounds = 2;
constexpr double kLeastShrinking = 0.95;
/// How much less CPU time a container gets, step by step. Each leaves about half of the one before: a writer of N times
/// the link's rate is caught after log2(N) steps, and every step costs a round that does not get smaller. (QEMU begins
/// with 20 % and adds 10: a writer of twice the rate outruns four rounds of that.) Never 100: it goes on running.
constexpr std::array<unsigned, 6> kThrottlePercents = {50, 75, 88, 94, 97, 99};

constexpr Duration kUnknown = Duration::max() / 4;   // longer than anybody waits, and safe to add to

struct Sample {
  std::uint64_t bytes = 0;
  Duration duration{};
};

/// A round that compared much and sent little measured the disk.
bool tells_of_the_link(const RoundStats& round, std::uint64_t RoundStats::*bytes) {
  return !round.compares || round.*bytes >= kBandwidthSampleBytes;
}

/// The latest rounds, back to the one that makes the sample large enough; none if no round tells of the link. `bytes`:
/// before compression or after it.
std::optional<Sample> latest_sample(std::span<const RoundStats> rounds, std::uint64_t RoundStats::*bytes) {
  std::optional<Sample> sample;
  for (auto round = rounds.rbegin(); round != rounds.rend(); ++round) {
    if (sample && sample->bytes >= kBandwidthSampleBytes) break;
    if (!tells_of_the_link(*round, bytes)) continue;
    if (!sample) sample.emplace();
    sample->bytes += *round.*bytes;
    sample->duration += round->duration;
  }
  return sample;
}

Duration time_to_send(std::uint64_t bytes, const std::optional<Sample>& sample) {
  if (bytes == 0) return Duration::zero();
  if (!sample) return kUnknown;
  if (sample->duration <= Duration::zero()) return Duration::zero();
  if (sample->bytes == 0) return kUnknown;  // no data was moved yet, so nothing is known about the link
  const auto nanoseconds =
      static_cast<double>(sample->duration.count()) * (static_cast<double>(bytes) / static_cast<double>(sample->bytes));
  const auto longest = static_cast<double>(kUnknown.count());
  return Duration(std::llround(std::min(nanoseconds, longest)));
}

bool has_not_shrunk(std::span<const RoundStats> rounds, std::size_t index) {
  const auto earlier = rounds.first(index);
  const auto least = std::min_element(earlier.begin(), earlier.end(), [](const auto& one, const auto& other) {
    return one.bytes_left < other.bytes_left;
  });
  return static_cast<double>(rounds[index].bytes_left) > static_cast<double>(least->bytes_left) * kLeastShrinking;
}

std::span<const RoundStats> since_the_last_wait(std::span<const RoundStats> rounds) {
  const auto last = std::find_if(rounds.rbegin(), rounds.rend(), [](const auto& round) { return round.has_waited; });
  return rounds.last(static_cast<std::size_t>(last - rounds.rbegin()));
}

/// Of a container that is throttled already it is known that it writes all the time: one round shows if it was enough.
bool is_stalled(std::span<const RoundStats> rounds) {
  rounds = since_the_last_wait(rounds);
  if (rounds.empty()) return false;
  const std::size_t in_a_row = rounds.back().throttle_percent > 0 ? 1 : kStalledRounds;
  if (rounds.size() <= in_a_row) return false;
  for (auto index = rounds.size() - in_a_row; index < rounds.size(); ++index)
    if (!has_not_shrunk(rounds, index)) return false;
  return true;
}

std::optional<unsigned> next_throttle_percent(unsigned percent) {
  const auto next = std::upper_bound(kThrottlePercents.begin(), kThrottlePercents.end(), percent);
  if (next == kThrottlePercents.end()) return std::nullopt;
  return *next;
}

std::string in_milliseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) + " ms";
}

}  // namespace

Duration ConvergencePolicy::estimated_downtime(std::span<const RoundStats> rounds) const {
  MIGRATE_ASSERT(!rounds.empty());
  if (frozen_bytes_per_second > 0) {
    const Sample as_told{frozen_bytes_per_second, std::chrono::seconds(1)};
    return fixed_downtime + time_to_send(rounds.back().bytes_left + memory_bytes, as_told);
  }
  const auto blocks = latest_sample(rounds, &RoundStats::data_bytes);
  const auto wire = latest_sample(rounds, &RoundStats::wire_bytes);
  const bool is_link_known = wire && wire->bytes >= kBandwidthSampleBytes;
  return fixed_downtime + time_to_send(rounds.back().bytes_left, blocks) +
         time_to_send(memory_bytes, is_link_known ? wire : blocks);
}

Decision ConvergencePolicy::decide(std::span<const RoundStats> rounds) const {
  MIGRATE_ASSERT(!rounds.empty());
  const auto estimate = estimated_downtime(rounds);
  const auto figures = "estimated downtime " + in_milliseconds(estimate) + ", allowed " + in_milliseconds(downtime_max);
  if (rounds.back().bytes_left == 0) return {Verdict::freeze_now, "nothing left to copy"};
  if (estimate <= downtime_max) return {Verdict::freeze_now, figures};
  const bool is_last = rounds.size() >= rounds_max;
  if (!is_last && !is_stalled(rounds)) return {Verdict::copy_again, figures};
  const auto reason = (is_last ? "round " + std::to_string(rounds.size()) + " was the last; "
                               : std::string("the dirty set does not shrink any more; ")) + figures;
  const auto percent = throttles ? next_throttle_percent(rounds.back().throttle_percent) : std::nullopt;
  if (percent) return {Verdict::throttle, reason, *percent};
  return {on_stall == OnStall::freeze ? Verdict::freeze_now : Verdict::give_up, reason};
}

Decision ConvergencePolicy::decide_at_once(std::span<const RoundStats> rounds, Duration freeze_timeout) const {
  if (rounds.empty()) return {Verdict::give_up, "nothing was copied yet"};
  const auto estimate = estimated_downtime(rounds);
  if (estimate >= kUnknown) return {Verdict::give_up, "too little was copied to know the link"};
  return {estimate < freeze_timeout ? Verdict::freeze_now : Verdict::give_up,
          "estimated downtime " + in_milliseconds(estimate) + ", --freeze-timeout " + in_milliseconds(freeze_timeout)};
}

}  // namespace vmigrate

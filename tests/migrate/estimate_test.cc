// SPDX-License-Identifier: GPL-2.0-or-later
// The prediction of a dry run.
#include "migrate/estimate.h"

#include <nlohmann/json.hpp>

#include "tests/catch.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kMega = 1'000'000;

/// 100 MB used, a link of 10 MB/s, `rate` bytes written per second, all different.
EstimateInput input_with(std::uint64_t rate) {
  return {.used_bytes = 100 * kMega,
          .memory_bytes = 1 * kMega,
          .bytes_per_second = 10.0 * kMega,
          .round_trip = 1ms,
          .samples = {{1s, rate}, {2s, 2 * rate}},
          .policy = {.downtime_max = 1s, .rounds_max = 10, .fixed_downtime = 300ms, .memory_bytes = kMega}};
}

}  // namespace

TEST_CASE("a quiet container is predicted to need one round", "[migrate][estimate]") {
  const Estimate result = estimate(input_with(0));
  REQUIRE(result.rounds.size() == 1);
  CHECK(result.converges);
  CHECK(result.rounds[0].duration == 10s + 1ms);
  CHECK(result.downtime >= 400ms);
  CHECK(result.downtime < 410ms);
  CHECK(result.total == result.rounds[0].duration + result.downtime);
}

TEST_CASE("rounds shrink by the ratio of writes to link", "[migrate][estimate]") {
  const Estimate result = estimate(input_with(2 * kMega));
  CHECK(result.converges);
  REQUIRE(result.rounds.size() >= 2);
  for (std::size_t i = 1; i < result.rounds.size(); ++i) {
    CHECK(result.rounds[i].data_bytes == result.rounds[i - 1].bytes_left);
    CHECK(result.rounds[i].bytes_left < result.rounds[i - 1].bytes_left);
  }
}

TEST_CASE("a container that writes faster than the link is predicted not to converge", "[migrate][estimate]") {
  const Estimate result = estimate(input_with(20 * kMega));
  CHECK_FALSE(result.converges);
  CHECK(result.downtime > 1s);
  CHECK_FALSE(result.reason.empty());
}

TEST_CASE("what --auto-converge would do is predicted, too", "[migrate][estimate]") {
  EstimateInput input = input_with(20 * kMega);
  input.policy.throttles = true;
  const Estimate result = estimate(input);
  CHECK(result.converges);
  CHECK(result.rounds.front().throttle_percent == 0);
  CHECK(result.rounds.back().throttle_percent >= 75);
}

TEST_CASE("writes are interpolated within the sample and continued beyond it", "[migrate][estimate]") {
  const std::vector<DirtySample> samples = {{1s, 1000}, {2s, 1500}, {3s, 1600}};
  CHECK(dirty_bytes_after(samples, 0s, 99999) == 0);
  CHECK(dirty_bytes_after(samples, 500ms, 99999) == 500);
  CHECK(dirty_bytes_after(samples, 1s, 99999) == 1000);
  CHECK(dirty_bytes_after(samples, 1500ms, 99999) == 1250);
  CHECK(dirty_bytes_after(samples, 3s, 99999) == 1600);
  CHECK(dirty_bytes_after(samples, 13s, 99999) == 2600);
}

TEST_CASE("no more can be dirty than is used", "[migrate][estimate]") {
  CHECK(dirty_bytes_after({{1s, 1000}}, 3600s, 5000) == 5000);
}

TEST_CASE("the prediction as JSON has the figures it was made of", "[migrate][estimate]") {
  const EstimateInput input = input_with(2 * kMega);
  const auto out = to_json(estimate(input), input);
  CHECK(out["used_bytes"] == 100 * kMega);
  CHECK(out["bandwidth_bytes_per_second"] == 10 * kMega);
  CHECK(out["dirty_bytes_per_second"] == 2 * kMega);
  CHECK(out["round_trip_ms"] == 1.0);
  CHECK(out["converges"] == true);
  CHECK(out["rounds"].size() == estimate(input).rounds.size());
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/convergence.h"

#include <vector>

#include "tests/catch.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

/// Rounds over a link of 100 MiB/s, each sending what the one before left, the first 1000 MiB.
std::vector<RoundStats> rounds_leaving(const std::vector<std::uint64_t>& mebibytes_left) {
  std::vector<RoundStats> rounds;
  std::uint64_t to_send = 1000;
  for (const auto left : mebibytes_left) {
    RoundStats stats;
    stats.round = static_cast<std::uint32_t>(rounds.size() + 1);
    stats.data_bytes = to_send * kMiB;
    stats.duration = to_send * 10ms;
    stats.bytes_left = left * kMiB;
    rounds.push_back(stats);
    to_send = left;
  }
  return rounds;
}

ConvergencePolicy policy(Duration downtime_max = 500ms) {
  ConvergencePolicy result;
  result.downtime_max = downtime_max;
  return result;
}

}  // namespace

TEST_CASE("the estimate is what is left over the bandwidth, and what is fixed", "[engine]") {
  auto rule = policy();
  rule.fixed_downtime = 200ms;
  rule.memory_bytes = 50 * kMiB;
  CHECK(rule.estimated_downtime(rounds_leaving({10})) == 800ms);
}

TEST_CASE("memory is not expected to compress as blocks do", "[engine]") {
  auto rule = policy();
  rule.memory_bytes = 50 * kMiB;
  auto rounds = rounds_leaving({10});
  rounds.back().wire_bytes = 250 * kMiB;
  CHECK(rule.estimated_downtime(rounds) == 100ms + 2000ms);
  rounds.back().wire_bytes = 1 * kMiB;   // tells of the data, not of the link
  CHECK(rule.estimated_downtime(rounds) == 600ms);
}

TEST_CASE("what the operator says of the switchover counts, not what the rounds were held back to", "[engine]") {
  auto rule = policy();
  rule.fixed_downtime = 200ms;
  rule.memory_bytes = 50 * kMiB;
  rule.frozen_bytes_per_second = 600 * kMiB;
  CHECK(rule.estimated_downtime(rounds_leaving({10})) == 300ms);
  CHECK(rule.estimated_downtime(rounds_leaving({550})) == 1200ms);
}

TEST_CASE("a link that became slow counts as slow", "[engine]") {
  auto rounds = rounds_leaving({100, 10});
  rounds.back().duration *= 10;
  CHECK(policy().estimated_downtime(rounds) == 1s);
}

TEST_CASE("a small round does not make a fast link look slow", "[engine]") {
  auto rounds = rounds_leaving({1, 1});
  rounds.back().duration = 100ms;
  CHECK(policy().estimated_downtime(rounds) < 11ms);
}

TEST_CASE("the rule decides as the table says", "[engine]") {
  struct Row {
    std::vector<std::uint64_t> left;
    Duration downtime_max;
    Verdict verdict;
  };
  const auto row = GENERATE(values<Row>({
      {{100}, 500ms, Verdict::copy_again},                       // 1 s is too long
      {{50}, 500ms, Verdict::freeze_now},                        // 500 ms fits
      {{0}, 0ms, Verdict::freeze_now},                           // nothing left
      {{400, 200, 100, 50}, 500ms, Verdict::freeze_now},         // shrinking until it fits
      {{400, 300, 200, 100}, 500ms, Verdict::copy_again},        // shrinking
      {{400, 399}, 500ms, Verdict::copy_again},                  // one bad round is no stall
      {{400, 399, 398}, 500ms, Verdict::freeze_now},             // two are
      {{400, 500, 600}, 500ms, Verdict::freeze_now},             // growing
      {{400, 500, 200}, 500ms, Verdict::copy_again},             // a burst that passed
      {{400, 100, 390, 380}, 500ms, Verdict::freeze_now},        // less than the round before, not than the best
      {{900, 800, 700, 600, 500, 440, 380, 320, 270, 220}, 500ms, Verdict::freeze_now},  // round 10 is the last
      {{900, 800, 700, 600, 500, 440, 380, 320, 270}, 500ms, Verdict::copy_again},
  }));
  CAPTURE(row.left);
  CHECK(policy(row.downtime_max).decide(rounds_leaving(row.left)).verdict == row.verdict);
}

TEST_CASE("when it does not converge, on_stall decides", "[engine]") {
  auto rule = policy();
  rule.on_stall = OnStall::abort;
  CHECK(rule.decide(rounds_leaving({400, 400, 400})).verdict == Verdict::give_up);
  CHECK(rule.decide(rounds_leaving({10, 10, 10})).verdict == Verdict::freeze_now);
  rule.rounds_max = 1;
  CHECK(rule.decide(rounds_leaving({400})).verdict == Verdict::give_up);
}

TEST_CASE("when time is over it is frozen only if it is done before --freeze-timeout", "[engine]") {
  CHECK(policy().decide_at_once(rounds_leaving({90}), 1s).verdict == Verdict::freeze_now);
  CHECK(policy().decide_at_once(rounds_leaving({110}), 1s).verdict == Verdict::give_up);
  CHECK(policy().decide_at_once(rounds_leaving({110}), 1s).reason ==
        "estimated downtime 1100 ms, --freeze-timeout 1000 ms");
  CHECK(policy().decide_at_once({}, 1s).verdict == Verdict::give_up);
  auto unknown = rounds_leaving({1});
  unknown.back().data_bytes = 0;
  CHECK(policy().decide_at_once(unknown, 24h).verdict == Verdict::give_up);
}

TEST_CASE("before it gives up it throttles, step by step", "[engine]") {
  auto rule = policy();
  rule.throttles = true;
  rule.on_stall = OnStall::abort;
  auto rounds = rounds_leaving({400, 400});
  CHECK(rule.decide(rounds).verdict == Verdict::copy_again);
  rounds = rounds_leaving({400, 400, 400});
  std::vector<unsigned> percents;
  Decision decision = rule.decide(rounds);
  for (; decision.verdict == Verdict::throttle; decision = rule.decide(rounds)) {
    percents.push_back(decision.throttle_percent);
    CHECK(decision.reason.find("does not shrink any more") != std::string::npos);
    rounds.push_back(rounds.back());
    rounds.back().throttle_percent = decision.throttle_percent;
  }
  CHECK(percents == std::vector<unsigned>{50, 75, 88, 94, 97, 99});
  CHECK(decision.verdict == Verdict::give_up);
}

TEST_CASE("a step that helps is not followed by another, until there are no rounds left", "[engine]") {
  auto rule = policy();
  rule.throttles = true;
  auto rounds = rounds_leaving({400, 400, 400, 360, 320, 280, 250, 220, 200});
  for (std::size_t index = 3; index < rounds.size(); ++index) rounds[index].throttle_percent = 50;
  CHECK(rule.decide(rounds).verdict == Verdict::copy_again);
  rounds.push_back(rounds.back());
  rounds.back().bytes_left = 180 * kMiB;
  CHECK(rule.decide(rounds).verdict == Verdict::throttle);
  CHECK(rule.decide(rounds).throttle_percent == 75);
  rounds.back().throttle_percent = 99;
  CHECK(rule.decide(rounds).verdict == Verdict::freeze_now);
}

TEST_CASE("every decision says why", "[engine]") {
  const auto decision = policy().decide(rounds_leaving({400, 400, 400}));
  CHECK(decision.reason == "the dirty set does not shrink any more; estimated downtime 4000 ms, allowed 500 ms");
}

TEST_CASE("nothing is known about a link that carried no data", "[engine]") {
  auto rounds = rounds_leaving({1});
  rounds.back().data_bytes = 0;
  CHECK(policy().decide(rounds).verdict == Verdict::copy_again);
}

namespace {

/// Reads and compares 10 GiB in 10 s, and sends little of it.
RoundStats comparing(std::uint64_t mebibytes_sent, std::uint64_t mebibytes_left) {
  RoundStats stats;
  stats.round = 1;
  stats.data_bytes = mebibytes_sent * kMiB;
  stats.duration = 10s;
  stats.bytes_left = mebibytes_left * kMiB;
  stats.compares = true;
  return stats;
}

}  // namespace

TEST_CASE("a round that compared much and sent little tells nothing of the link", "[engine]") {
  auto rounds = rounds_leaving({100, 20});
  rounds.push_back(comparing(1, 20));
  CHECK(policy().estimated_downtime(rounds) == 200ms);
}

TEST_CASE("after nothing but a comparison another round is copied, to know the link", "[engine]") {
  const std::vector<RoundStats> rounds = {comparing(1, 20)};
  const auto decision = policy().decide(rounds);
  CHECK(decision.verdict == Verdict::copy_again);
  const auto at_once = policy().decide_at_once(rounds, 10s);
  CHECK(at_once.verdict == Verdict::give_up);
}

TEST_CASE("after a comparison with nothing left there is nothing to wait for", "[engine]") {
  const std::vector<RoundStats> rounds = {comparing(1, 0)};
  CHECK(policy().decide(rounds).verdict == Verdict::freeze_now);
}

TEST_CASE("a comparison that sent much tells of the link", "[engine]") {
  const std::vector<RoundStats> rounds = {comparing(1000, 20)};
  CHECK(policy().estimated_downtime(rounds) == 200ms);
}

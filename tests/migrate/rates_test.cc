// SPDX-License-Identifier: GPL-2.0-or-later
// An operator changes how fast a migration sends, while it is under way.
#include "migrate/rate_board.h"

#include "migrate/pacer.h"
#include "migrate/printer.h"
#include "tests/migrate/session_world.h"

using namespace vmigrate;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr std::uint64_t kSlow = 1000;   // bytes per second: everything takes minutes

std::optional<Errc> refusal(const std::string& text) {
  try {
    rate_change_from_json(text);
  } catch (const Error& error) {
    return error.code_or(Errc::internal);
  }
  return std::nullopt;
}

RateChange for_running(std::uint64_t rate) { return {.container = "ct", .bandwidth_max = rate}; }
RateChange for_frozen(std::uint64_t rate) { return {.container = "ct", .switchover_bandwidth_max = rate}; }

/// A migration whose operator changes his mind.
struct TunedWorld : SessionWorld {
  explicit TunedWorld(MigrationOptions options) : SessionWorld(options) { rate_board = &board; }

  void later(Duration delay, std::function<void()> step) {
    asio::co_spawn(sim.loop(), wait_and_do(delay, std::move(step)), asio::detached);
  }
  Task<> wait_and_do(Duration delay, std::function<void()> step) {
    co_await sim.clock().sleep_for(delay);
    step();
  }
  std::vector<json> told() const {
    std::vector<json> rates;
    for (const auto& event : events.all)
      if (event["event"] == "rates") rates.push_back(event);
    return rates;
  }

  RateBoard board;
};

/// Several messages of 1000 bytes that pass at once, in simulated time.
struct Queue {
  explicit Queue(std::uint64_t rate) : pacer(sim.clock(), rate) {}
  void send(int messages) {
    for (int i = 0; i < messages; ++i) asio::co_spawn(sim.loop(), pass(), asio::detached);
  }
  Task<> pass() {
    co_await pacer.pass(1000);
    passed.push_back(sim.clock().now() - start);
  }
  void later(Duration delay, std::function<void()> step) {
    asio::co_spawn(sim.loop(), wait_and_do(delay, std::move(step)), asio::detached);
  }
  Task<> wait_and_do(Duration delay, std::function<void()> step) {
    co_await sim.clock().sleep_for(delay);
    step();
  }
  void run(std::size_t messages) {
    REQUIRE(sim.run_until([&] { return passed.size() == messages; }));
  }

  SimLoop sim;
  Pacer pacer;
  TimePoint start = sim.clock().now();
  std::vector<Duration> passed;
};

}  // namespace

TEST_CASE("a change of rates arrives as it was sent, and says nothing of what stays", "[migrate][rates]") {
  const RateChange both = rate_change_from_json(to_json(RateChange{"ct", 5, 0}));
  CHECK(both.container == "ct");
  CHECK(both.bandwidth_max == 5);
  CHECK(both.switchover_bandwidth_max == 0);
  const RateChange one = rate_change_from_json(to_json(for_running(0)));
  CHECK(one.bandwidth_max == 0);
  CHECK_FALSE(one.switchover_bandwidth_max);
  const Rates rates = Rates{7, 8}.changed_by(one);
  CHECK(rates.bandwidth_max == 0);
  CHECK(rates.switchover_bandwidth_max == 8);
}

TEST_CASE("a change of rates that makes no sense is refused", "[migrate][rates]") {
  for (const char* text : {"", "[]", "{}", R"({"container":7,"bandwidth_max":1})", R"({"bandwidth_max":1})",
                           R"({"container":"ct"})", R"({"container":"ct","bandwidth_max":null})",
                           R"({"container":"ct","bandwidth_max":-1})", R"({"container":"ct","bandwidth_max":1.5})",
                           R"({"container":"ct","bandwidth_max":1,"switchover_bandwidth_max":"2"})"}) {
    INFO(text);
    CHECK(refusal(text) == Errc::protocol_violation);
  }
}

TEST_CASE("whoever waits at an old rate begins his wait anew at the new one", "[migrate][rates]") {
  SECTION("at none he goes on at once") {
    Queue queue(1);
    queue.send(3);
    queue.later(5s, [&] { queue.pacer.set_rate(0); });
    queue.run(3);
    for (const Duration passed : queue.passed) CHECK(passed <= 5100ms);
  }
  SECTION("and all of them together keep within it") {
    Queue queue(1);
    queue.send(3);
    queue.later(5s, [&] { queue.pacer.set_rate(100); });
    queue.run(3);
    CHECK(queue.passed[0] >= 15s);
    CHECK(queue.passed[0] <= 15100ms);
    CHECK(queue.passed[2] >= 35s);
    CHECK(queue.passed[2] <= 35300ms);
  }
  SECTION("the same rate again changes nothing") {
    Queue queue(100);
    queue.send(1);
    for (int i = 1; i < 20; ++i) queue.later(i * 500ms, [&] { queue.pacer.set_rate(100); });
    queue.run(1);
    CHECK(queue.passed[0] == 10s);
  }
}

TEST_CASE("a migration that is held back ends soon once its limit is taken away", "[migrate][rates]") {
  const auto streams = GENERATE(1U, 3U);
  TunedWorld world({.bandwidth_max = kSlow, .streams = streams});
  std::uint64_t sent_before = 0;
  TimePoint set{};
  world.later(20s, [&] {
    sent_before = world.to_destination->bytes_sent();
    set = world.sim.clock().now();
    const auto rates = world.board.change(for_running(0));
    REQUIRE(rates);
    CHECK(rates->bandwidth_max == 0);
  });
  world.migrate();
  CHECK(world.report.outcome == Outcome::migrated);
  CHECK(world.is_copy_equal());
  CHECK(set != TimePoint{});                                        // it was under way
  CHECK(sent_before < world.report.wire_bytes / 2);
  CHECK(world.sim.clock().now() - set < 2s);
  REQUIRE(world.told().size() == 1);
  CHECK(line_of(world.told()[0]) == "  from now on no limit while it runs, no limit while it stands still");
  CHECK(world.told()[0]["bandwidth_max"] == 0);
  const auto& remarks = world.report.remarks;
  CHECK(std::ranges::find(remarks, "from now on no limit while it runs, no limit while it stands still") !=
        remarks.end());
}

TEST_CASE("a migration can be slowed down as well", "[migrate][rates]") {
  TunedWorld world({.bandwidth_max = 200 * kSlow});
  world.volume.write(Extent{{0}, 1024}, 3);   // 4 MiB: 21 s at that rate
  world.later(5s, [&] { REQUIRE(world.board.change(for_running(50 * kSlow))); });
  world.migrate();
  CHECK(world.report.outcome == Outcome::migrated);
  CHECK(world.report.total > 60s);
}

TEST_CASE("the rate of the switchover holds at once if the container stands still", "[migrate][rates]") {
  TunedWorld world({.freeze_timeout = 1000s, .switchover_bandwidth_max = 50 * kSlow});   // 24 s
  std::optional<TimePoint> set;
  world.departure->script().at_dump = [&] {
    world.later(10s, [&] {
      set = world.sim.clock().now();
      REQUIRE(world.board.change(for_running(1)));   // of no account any more
      REQUIRE(world.board.change(for_frozen(0)));
    });
  };
  world.migrate();
  CHECK(world.report.outcome == Outcome::migrated);
  REQUIRE(set);
  CHECK(world.sim.clock().now() - *set < 2s);
  CHECK(world.report.downtime.total() >= 10s);
}

TEST_CASE("before the freeze the rate of the switchover is remembered, and the estimate goes by it",
          "[migrate][rates]") {
  TunedWorld world({.freeze_timeout = 1000s, .bandwidth_max = 100 * kSlow});
  world.later(500ms, [&] { REQUIRE(world.board.change(for_frozen(50 * kSlow))); });
  world.migrate();
  CHECK(world.report.outcome == Outcome::migrated);
  CHECK(world.report.rounds[0].duration < 5s);        // this one went on as before
  CHECK(world.report.downtime.total() > 20s);         // a checkpoint of 1.2 MB
  for (const auto& event : world.events.all)
    if (event["event"] == "round" && event["round"] == 1) CHECK(event["estimated_downtime_ms"] > 20'000);
}

TEST_CASE("nobody changes the rates of a container that has sent everything, or of one that never left",
          "[migrate][rates]") {
  TunedWorld world({});
  CHECK_FALSE(world.board.change(for_running(0)));
  bool was_found_at_go = true;
  world.to_destination->before_send([&](Message& message) {
    if (std::holds_alternative<Go>(message)) was_found_at_go = world.board.change(for_running(0)).has_value();
    return WatchedChannel::Fate::arrives;
  });
  world.migrate();
  CHECK(world.report.outcome == Outcome::migrated);
  CHECK_FALSE(was_found_at_go);
  CHECK_FALSE(world.board.change(for_running(0)));
  CHECK(world.told().empty());
}

TEST_CASE("a migration that failed has no rates any more while it is put back", "[migrate][rates]") {
  TunedWorld world({});
  world.departure->script().at_dump = [&] { world.source_cancellation.request(); };
  bool was_found = true;
  world.departure->script().at_resume = [&] { was_found = world.board.change(for_running(0)).has_value(); };
  world.migrate();
  CHECK(world.report.outcome == Outcome::aborted);
  CHECK_FALSE(was_found);
}

TEST_CASE("the report keeps the latest remarks, however often the rates are changed", "[migrate][rates]") {
  TunedWorld world({.bandwidth_max = kSlow});
  world.later(5s, [&] {
    for (std::uint64_t rate = 1; rate <= 2 * kRemarksMax; ++rate) world.board.change(for_running(rate));
    world.board.change(for_running(0));
  });
  world.migrate();
  CHECK(world.report.outcome == Outcome::migrated);
  CHECK(world.report.remarks.size() <= kRemarksMax);
  CHECK(to_json(world.report)["remarks"].size() == world.report.remarks.size());
}

TEST_CASE("a knob is for its own container, and gone with its session", "[migrate][rates]") {
  RateBoard board;
  int turned = 0;
  {
    const RateBoard::Knob knob(&board, "ct", [&](const RateChange& change) {
      ++turned;
      return Rates{}.changed_by(change);
    });
    const RateBoard::Knob second(&board, "ct", [](const RateChange&) { return Rates{}; });
    const RateBoard::Knob none(nullptr, "ct", [](const RateChange&) { return Rates{}; });
    CHECK(board.change(for_running(9))->bandwidth_max == 9);
    CHECK_FALSE(board.change({.container = "ct2", .bandwidth_max = 1}));
  }
  CHECK(turned == 1);
  CHECK_FALSE(board.change(for_running(9)));
}

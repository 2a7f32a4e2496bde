// SPDX-License-Identifier: GPL-2.0-or-later
// One link and several containers that leave: the one that stands still goes first, and nobody waits for ever.
#include "migrate/precedence.h"

#include "tests/migrate/session_world.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

/// Two sessions' places on one host, and simulated time.
struct Crowd {
  /// How long `task` takes.
  Duration time_of(Task<> task) {
    bool is_done = false;
    const TimePoint start = sim.clock().now();
    asio::co_spawn(sim.loop(), std::move(task), [&](std::exception_ptr thrown) {
      is_done = true;
      REQUIRE_FALSE(thrown);
    });
    REQUIRE(sim.run_until([&] { return is_done; }));
    return sim.clock().now() - start;
  }
  Duration time_to_make_way() { return time_of(mine.make_way(sim.clock())); }
  Duration time_for_turn(Duration patience) {
    return time_of(mine.wait_for_turn(sim.clock(), cancellation, patience));
  }
  /// Runs `step` after `delay`, beside whatever is timed.
  void later(Duration delay, std::function<void()> step) {
    asio::co_spawn(sim.loop(), wait_and_do(delay, std::move(step)), asio::detached);
  }
  Task<> wait_and_do(Duration delay, std::function<void()> step) {
    co_await sim.clock().sleep_for(delay);
    step();
  }
  TimePoint now() { return sim.clock().now(); }
  void other_takes_link(Duration at_most) { other.take_link(now(), at_most); }
  Duration time_to_begin(Precedence::Place& place) { return time_of(place.begin(sim.clock(), cancellation)); }

  SimLoop sim;
  Cancellation cancellation;
  Precedence all;
  Precedence::Place mine{&all};
  Precedence::Place other{&all};
};

/// A session in the company of a place on the same host.
struct Company : SessionWorld {
  Company() {
    precedence = &all;
    const auto as_before = departure->script().at_stop;
    departure->script().at_stop = [this, as_before] {
      stopped_after = sim.clock().now() - start;
      as_before();
    };
  }
  void later(Duration delay, std::function<void()> step) {
    asio::co_spawn(sim.loop(), wait_and_do(delay, std::move(step)), asio::detached);
  }
  Task<> wait_and_do(Duration delay, std::function<void()> step) {
    co_await sim.clock().sleep_for(delay);
    step();
  }

  TimePoint now() { return sim.clock().now(); }
  Task<> begin_beside_it() {
    co_await other.begin(sim.clock(), other_cancellation);
    other_began_after = now() - start;
  }

  Precedence all;
  Precedence::Place other{&all};
  Cancellation other_cancellation;
  TimePoint start = sim.clock().now();
  Duration stopped_after{};
  Duration other_began_after{};
};

}  // namespace

TEST_CASE("who stands still has the link until everything is sent", "[migrate][precedence]") {
  Crowd crowd;
  CHECK(crowd.time_to_make_way() == 0s);
  crowd.other_takes_link(8s);
  crowd.later(300ms, [&] { crowd.other.has_sent(); });
  const Duration waited = crowd.time_to_make_way();
  CHECK(waited >= 300ms);
  CHECK(waited < 320ms);
  CHECK(crowd.mine.take_waited() == waited);
  CHECK(crowd.mine.take_waited() == 0s);
}

TEST_CASE("nobody makes way for longer than a freeze may last, nor for longer than a peer is patient",
          "[migrate][precedence]") {
  Crowd crowd;
  crowd.other_takes_link(2s);
  CHECK(crowd.time_to_make_way() == 2s);
  CHECK(crowd.time_to_make_way() == 0s);
  crowd.other_takes_link(24h);
  CHECK(crowd.time_to_make_way() == Precedence::kMakeWayMax);
}

TEST_CASE("nobody begins while another stands still, for no longer than that may last", "[migrate][precedence]") {
  Crowd crowd;
  CHECK(crowd.time_to_begin(crowd.mine) == 0s);
  crowd.other.stand_still(crowd.now(), 8s);
  CHECK(crowd.time_to_make_way() == 0s);   // what has begun goes on until the link is needed
  crowd.later(100ms, [&] { crowd.other.has_sent(); });   // it is to be restored
  crowd.later(300ms, [&] { crowd.other.leave(); });
  CHECK(crowd.time_to_begin(crowd.mine) >= 300ms);
  Precedence::Place third(&crowd.all);
  third.stand_still(crowd.now(), 2s);
  CHECK(crowd.time_to_begin(crowd.mine) == 2s);
  CHECK(crowd.mine.take_waited() == 0s);   // no round was held up
}

TEST_CASE("nobody gets the turn while another begins", "[migrate][precedence]") {
  Crowd crowd;
  crowd.time_to_begin(crowd.other);
  CHECK_FALSE(crowd.mine.take_turn(crowd.now()));
  crowd.other.has_begun();
  CHECK(crowd.mine.take_turn(crowd.now()));
  crowd.time_to_begin(crowd.other);
  crowd.other.leave();
  CHECK(crowd.mine.take_turn(crowd.now()));
}

TEST_CASE("who takes too long to begin holds up nobody any more", "[migrate][precedence]") {
  Crowd crowd;
  crowd.time_to_begin(crowd.other);
  CHECK(crowd.time_for_turn(20s) == Precedence::kBeginMax);
}

TEST_CASE("who waits to begin comes before who wants to stand still next", "[migrate][precedence]") {
  Crowd crowd;
  Precedence::Place third(&crowd.all);
  third.stand_still(crowd.now(), 1s);
  asio::co_spawn(crowd.sim.loop(), crowd.other.begin(crowd.sim.clock(), crowd.cancellation), asio::detached);
  crowd.later(1500ms, [&] { crowd.other.has_begun(); });
  const Duration waited = crowd.time_for_turn(20s);
  CHECK(waited >= 1500ms);
  CHECK(waited < 1600ms);
}

TEST_CASE("those that begin one after the other hold up nobody for longer than one of them", "[migrate][precedence]") {
  Crowd crowd;
  Precedence::Place third(&crowd.all);
  crowd.time_to_begin(crowd.other);
  crowd.later(2s, [&] {
    asio::co_spawn(crowd.sim.loop(), third.begin(crowd.sim.clock(), crowd.cancellation), asio::detached);
  });
  CHECK(crowd.time_for_turn(20s) == Precedence::kBeginMax);
}

TEST_CASE("two begin one after the other", "[migrate][precedence]") {
  Crowd crowd;
  CHECK(crowd.time_to_begin(crowd.other) == 0s);
  crowd.later(400ms, [&] { crowd.other.has_begun(); });
  const Duration waited = crowd.time_to_begin(crowd.mine);
  CHECK(waited >= 400ms);
  CHECK(waited < 420ms);
  CHECK(crowd.mine.take_waited() == 0s);   // no round was held up
}

TEST_CASE("they begin in the order in which they asked for it", "[migrate][precedence]") {
  Crowd crowd;
  Precedence::Place first(&crowd.all);
  crowd.time_to_begin(first);
  Duration mine_waited{};
  const TimePoint start = crowd.now();
  asio::co_spawn(crowd.sim.loop(), crowd.other.begin(crowd.sim.clock(), crowd.cancellation), asio::detached);
  asio::co_spawn(crowd.sim.loop(), crowd.mine.begin(crowd.sim.clock(), crowd.cancellation),
                 [&](const std::exception_ptr&) { mine_waited = crowd.now() - start; });
  crowd.later(100ms, [&] { first.has_begun(); });
  crowd.later(700ms, [&] { crowd.other.has_begun(); });
  REQUIRE(crowd.sim.run_until([&] { return mine_waited > 0s; }));
  CHECK(mine_waited >= 700ms);
  CHECK(mine_waited < 720ms);
}

TEST_CASE("who takes too long to begin keeps nobody else from it", "[migrate][precedence]") {
  Crowd crowd;
  crowd.time_to_begin(crowd.other);
  CHECK(crowd.time_to_begin(crowd.mine) == Precedence::kBeginMax);
}

TEST_CASE("who waits to begin can be cancelled", "[migrate][precedence]") {
  Crowd crowd;
  crowd.time_to_begin(crowd.other);
  crowd.later(500ms, [&] { crowd.cancellation.request(); });
  const Duration waited = crowd.time_to_begin(crowd.mine);
  CHECK(waited >= 500ms);
  CHECK(waited < 600ms);
}

TEST_CASE("two that stand still do not wait for each other", "[migrate][precedence]") {
  Crowd crowd;
  crowd.other_takes_link(8s);
  crowd.mine.take_link(crowd.sim.clock().now(), 8s);
  CHECK(crowd.time_to_make_way() == 0s);
  CHECK(crowd.time_of(crowd.other.make_way(crowd.sim.clock())) == 0s);
}

TEST_CASE("who has left waits for nobody, and nobody for him", "[migrate][precedence]") {
  Crowd crowd;
  crowd.other_takes_link(8s);
  crowd.later(50ms, [&] { crowd.mine.leave(); });
  CHECK(crowd.time_to_make_way() <= 60ms);
  crowd.mine.take_link(crowd.sim.clock().now(), 8s);
  CHECK(crowd.mine.take_turn(crowd.now()));
  crowd.other.has_sent();
  CHECK(crowd.time_of(crowd.other.make_way(crowd.sim.clock())) == 0s);
}

TEST_CASE("a session that ends anyhow leaves nothing behind", "[migrate][precedence]") {
  Crowd crowd;
  {
    Precedence::Place third(&crowd.all);
    CHECK(third.take_turn(crowd.now()));
    third.take_link(crowd.sim.clock().now(), 8s);
    CHECK_FALSE(crowd.mine.take_turn(crowd.now()));
  }
  CHECK(crowd.mine.take_turn(crowd.now()));
  CHECK(crowd.time_to_make_way() == 0s);
}

TEST_CASE("the turn is the next one's when everything is sent, not only when the container runs there",
          "[migrate][precedence]") {
  Crowd crowd;
  CHECK(crowd.other.take_turn(crowd.now()));
  CHECK_FALSE(crowd.mine.take_turn(crowd.now()));
  crowd.other.has_sent();
  CHECK(crowd.mine.take_turn(crowd.now()));
}

TEST_CASE("turns come in the order in which they were asked for", "[migrate][precedence]") {
  Crowd crowd;
  Precedence::Place third(&crowd.all);
  CHECK(crowd.other.take_turn(crowd.now()));
  CHECK(crowd.other.take_turn(crowd.now()));
  CHECK_FALSE(third.take_turn(crowd.now()));
  CHECK_FALSE(crowd.mine.take_turn(crowd.now()));
  crowd.other.leave();
  CHECK_FALSE(crowd.mine.take_turn(crowd.now()));
  CHECK(third.take_turn(crowd.now()));
  third.leave();
  CHECK(crowd.mine.take_turn(crowd.now()));
}

TEST_CASE("a turn is waited for as long as it is worth, and not after a cancellation", "[migrate][precedence]") {
  Crowd crowd;
  CHECK(crowd.other.take_turn(crowd.now()));
  CHECK(crowd.time_for_turn(3s) == 3s);
  crowd.later(500ms, [&] { crowd.cancellation.request(); });
  CHECK(crowd.time_for_turn(3s) < 600ms);
  Crowd another;
  CHECK(another.other.take_turn(another.now()));
  another.later(500ms, [&] { another.other.leave(); });
  CHECK(another.time_for_turn(3s) < 600ms);
}

TEST_CASE("who is alone on its host never waits", "[migrate][precedence]") {
  SimLoop sim;
  Precedence::Place place(nullptr);
  CHECK(place.take_turn(sim.clock().now()));
  place.take_link(sim.clock().now(), 8s);
  place.leave();
  CHECK(place.take_waited() == 0s);
}

TEST_CASE("a container runs on while another of its host stands still, and then is frozen with little left",
          "[migrate][precedence]") {
  Company world;
  REQUIRE(world.other.take_turn(world.now()));
  world.other.take_link(world.start, 1s);
  world.later(3s, [&] {
    world.volume.write(BlockIndex{600}, 6);   // written while we wait: copied before the freeze
    world.other.leave();
  });
  world.migrate();
  INFO(world.story.text());
  CHECK(world.destination_runs());
  CHECK(world.is_copy_equal());
  CHECK(world.stopped_after >= 3s);
  CHECK(world.stopped_after < 4s);
  CHECK(world.report.downtime.total() < 1s);
  const auto& rounds = world.report.rounds;
  REQUIRE(rounds.size() >= 3);
  CHECK(rounds[rounds.size() - 2].blocks_dirty >= 1);
  for (const auto& round : rounds) CHECK(round.duration < 1s);   // waiting says nothing of the link
}

TEST_CASE("nobody begins while a session hands its container over", "[migrate][precedence]") {
  Company world;
  const auto as_before = world.departure->script().at_stop;
  world.departure->script().at_stop = [&] {
    as_before();
    asio::co_spawn(world.sim.loop(), world.begin_beside_it(), asio::detached);
  };
  Duration other_had_begun_when_restored = 1h;
  world.arrivals.script().while_it_restores = [&]() -> Task<> {
    co_await world.sim.clock().sleep_for(1s);
    other_had_begun_when_restored = world.other_began_after;
  };
  world.migrate();
  CHECK(world.destination_runs());
  CHECK(other_had_begun_when_restored == 0s);
  CHECK(world.other_began_after > world.stopped_after);
}

TEST_CASE("a container runs on while another of its host is being set up", "[migrate][precedence]") {
  Company world;
  world.departure->script().at_arm = [&](FakeTracker&) {
    asio::co_spawn(world.sim.loop(), world.begin_beside_it(), asio::detached);
    world.later(2s, [&] { world.other.has_begun(); });
  };
  world.later(1s, [&] { world.volume.write(BlockIndex{600}, 6); });
  world.migrate();
  INFO(world.story.text());
  CHECK(world.destination_runs());
  CHECK(world.other_began_after < 1s);
  CHECK(world.stopped_after >= 2s);
  const auto& rounds = world.report.rounds;
  REQUIRE(rounds.size() >= 3);
  CHECK(rounds[rounds.size() - 2].blocks_dirty >= 1);   // it is copied meanwhile
}

TEST_CASE("a session is being set up until its tracker is armed", "[migrate][precedence]") {
  Company world;
  REQUIRE(world.other.take_turn(world.now()));
  bool has_turn_at_arming = true;
  world.departure->script().at_arm = [&](FakeTracker&) { has_turn_at_arming = world.other.take_turn(world.now()); };
  world.later(1s, [&] { world.other.leave(); });
  world.migrate();
  CHECK(world.destination_runs());
  CHECK_FALSE(has_turn_at_arming);
}

TEST_CASE("who has begun keeps nobody from its turn", "[migrate][precedence]") {
  Company world;
  REQUIRE(world.other.take_turn(world.now()));
  world.later(1s, [&] {
    CHECK(world.other.take_turn(world.now()));
    world.other.leave();
  });
  world.migrate();
  CHECK(world.destination_runs());
}

TEST_CASE("a turn that never comes holds up nobody for ever", "[migrate][precedence]") {
  Company world;
  REQUIRE(world.other.take_turn(world.now()));
  world.migrate();
  INFO(world.story.text());
  CHECK(world.destination_runs());
  CHECK(world.stopped_after >= 60s);
  CHECK(world.stopped_after < 70s);
}

TEST_CASE("who waits for its turn can be cancelled, and the next one gets it", "[migrate][precedence]") {
  Company world;
  REQUIRE(world.other.take_turn(world.now()));
  Precedence::Place next(&world.all);
  world.later(2s, [&] { world.source_cancellation.request(); });
  world.later(1s, [&] { CHECK_FALSE(next.take_turn(world.now())); });
  world.migrate();
  CHECK(world.source_runs());
  CHECK(world.failure() == Errc::cancelled);
  world.other.leave();
  CHECK(next.take_turn(world.now()));
}

TEST_CASE("a session that failed while it stood still lets the next one on", "[migrate][precedence]") {
  Company world;
  world.departure->script().at_dump = [] { throw Error(Errc::checkpoint_failed, "CRIU could not"); };
  world.migrate();
  CHECK(world.source_runs());
  CHECK(world.other.take_turn(world.now()));
}

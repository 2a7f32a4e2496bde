// SPDX-License-Identifier: GPL-2.0-or-later
// Both sessions against each other, with a link, a container and disks that do what a test asks for.
#include <sys/resource.h>

#include <csignal>

#include "base/failpoint.h"
#include "base/log.h"
#include "tests/migrate/session_world.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

using Fate = WatchedChannel::Fate;

/// While it lives, no file can be written at or beyond `bytes`: a disk that is full or broken.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

constexpr rlim_t kOneRecord = 256;

bool is_bulk(const std::string& line) {
  return line.ends_with("BlockData") || line.ends_with("BlockZeroes") || line.ends_with("ImageChunk");
}

std::vector<std::string> without_bulk(std::vector<std::string> lines) {
  std::erase_if(lines, is_bulk);
  return lines;
}

/// Whatever happened before: nobody acted without the record that allows it.
void check_order(SessionWorld& world) {
  const std::vector<std::pair<std::string, std::string>> rules = {
      {"source records GIVEN", "source sends Go"},        {"source records RELEASED", "source destroys"},
      {"source records RELEASED", "source sends Done"},   {"destination records PREPARED", "destination sends Ready"},
      {"destination records OWNED", "destination runs"},  {"destination records OWNED", "destination sends Running"},
      {"destination records REFUSED", "destination sends Refused"},
      {"source records GIVEN", "destination records OWNED"}};
  for (const auto& [first, second] : rules) {
    INFO(first << " before " << second);
    CHECK((!world.story.has(second) || world.story.has_in_order(first, second)));
  }
}

/// The end of every migration that is not in doubt.
void check_settled(SessionWorld& world) {
  INFO("asks: " << world.asks << ", report: " << name_of(world.report.outcome) << ", destination: "
                << name_of(world.outcome.state) << world.story.text());
  check_order(world);
  CHECK(world.source_runs() != world.destination_runs());
  const bool is_given = world.story.has("source records GIVEN") && !world.story.has("source records RECLAIMED");
  CHECK(world.source_runs() == !is_given);
  CHECK_FALSE(world.volume.is_quiet());
  if (world.destination_runs()) {
    CHECK(world.is_copy_equal());
    CHECK(world.report.outcome == Outcome::migrated);
    CHECK(world.departure->container() == FakeDeparture::Container::destroyed);
  } else {
    CHECK(world.report.outcome == Outcome::aborted);
    CHECK(world.failure().has_value());
    CHECK(world.arrivals.container() == FakeArrivalHost::Container::none);
    CHECK_FALSE(world.arrivals.is_prepared());
  }
}

void check_rolled_back(SessionWorld& world, Errc why) {
  check_settled(world);
  INFO((world.report.failure ? world.report.failure->sentence : "no failure") << world.story.text());
  CHECK(world.source_runs());
  CHECK(world.failure() == why);
}

/// Lets `hook` see messages of one type only.
template <typename T>
WatchedChannel::Hook on(std::function<Fate(T&)> hook) {
  return [hook = std::move(hook)](Message& message) {
    auto* wanted = std::get_if<T>(&message);
    return wanted != nullptr ? hook(*wanted) : Fate::arrives;
  };
}
template <typename T>
WatchedChannel::Hook swallow() {
  return on<T>([](T&) { return Fate::vanishes; });
}

std::size_t messages_of_a_good_migration() {
  SessionWorld world;
  world.migrate();
  return world.link->messages_sent();
}

[[maybe_unused]] const bool kIsQuiet = (set_log_level(LogLevel::error), true);

}  // namespace

TEST_CASE("a container moves: every block, then the records and messages in their order", "[migrate][session]") {
  SessionWorld world;
  world.migrate();
  check_settled(world);
  CHECK(world.destination_runs());
  CHECK(without_bulk(world.story.lines()) ==
        std::vector<std::string>{
            "source sends Open", "destination prepares", "destination sends Accept", "lane sends Join",
            "lane sends RoundEnd", "source sends RoundEnd", "destination sends RoundAck", "source stops",
            "source dumps", "lane sends RoundEnd", "source sends RoundEnd", "destination sends RoundAck",
            "source sends Manifest", "destination restores",
            "destination records PREPARED", "destination sends Ready", "source fences", "source records GIVEN",
            "source sends Go", "destination records OWNED", "destination runs", "destination sends Running",
            "source records RELEASED", "source destroys", "source sends Done"});
  CHECK(world.outcome.state == DestinationState::done);
  CHECK(world.arrivals.announcements() == 4);
  CHECK(world.report.rounds.size() == 2);
  CHECK(world.report.checkpoint_bytes == 1'200'100);
  CHECK(world.report.image_digest == world.departure->digests().root());
  CHECK(world.report.kept_image == "image.migrated-" + to_hex(Bits128{1, 2}));
  CHECK_FALSE(world.failure().has_value());
}

TEST_CASE("after a migration the destination's journal is free and says OWNED with the offer's epoch",
          "[migrate][session]") {
  SessionWorld world;
  world.migrate();
  const Journal journal(world.arrivals.journals(), "ct");
  REQUIRE(journal.newest());
  CHECK(journal.newest()->type == RecordType::owned);
  CHECK(journal.newest()->epoch == 2);
}

TEST_CASE("the report's downtime is the sum of its parts, from freeze to hand-over", "[migrate][session]") {
  SessionWorld world({.bandwidth_max = 1 << 20});
  world.migrate();
  Duration sum{};
  std::vector<std::string> names;
  for (const auto& part : world.report.downtime.parts()) {
    sum += part.duration;
    names.push_back(part.name);
  }
  CHECK(names == std::vector<std::string>{"freeze", "dump", "last blocks", "checkpoint", "restore", "hand-over"});
  CHECK(sum == world.report.downtime.total());
}

TEST_CASE("--bandwidth holds while it runs, and --switchover-bandwidth while it stands still", "[migrate][session]") {
  constexpr std::uint64_t kRate = 100'000;   // a checkpoint of 1.2 MB and a few blocks take 12 s
  const auto seconds = [](Duration duration) { return std::chrono::duration<double>(duration).count(); };
  SECTION("by default nothing is held back any more") {
    SessionWorld world({.bandwidth_max = kRate});
    world.migrate();
    check_settled(world);
    CHECK(seconds(world.report.rounds[0].duration) > 1.5);
    CHECK(seconds(world.report.downtime.total()) < 0.1);
  }
  SECTION("if it is given, it holds for the checkpoint, too") {
    SessionWorld world({.freeze_timeout = 60s, .switchover_bandwidth_max = kRate});
    world.migrate();
    check_settled(world);
    CHECK(seconds(world.report.rounds[0].duration) < 0.1);
    CHECK(seconds(world.report.downtime.total()) > 12);
    CHECK(seconds(world.report.downtime.total()) < 13);
  }
}

TEST_CASE("whichever message the link is cut at, exactly one side runs it", "[migrate][session]") {
  const std::size_t messages = messages_of_a_good_migration();
  REQUIRE(messages > 13);
  for (std::size_t k = 1; k <= messages; ++k) {
    INFO("cut at message " << k << " of " << messages);
    SessionWorld world;
    world.link->cut_after(k);
    world.migrate();
    check_settled(world);
  }
}

TEST_CASE("the same when the destination's agent is away for an hour afterwards", "[migrate][session]") {
  const std::size_t messages = messages_of_a_good_migration();
  for (std::size_t k = messages - 4; k <= messages; ++k) {
    INFO("cut at message " << k << " of " << messages);
    SessionWorld world;
    world.link->cut_after(k);
    world.unanswered_asks = 30;
    world.migrate();
    check_settled(world);
  }
}

TEST_CASE("cancelled on the source before any message, it rolls back; after the gift it goes on",
          "[migrate][session]") {
  for (std::size_t k = 1; k < 60; ++k) {
    SessionWorld world;
    std::size_t sent = 0;
    bool was_given = false;
    world.to_destination->before_send([&](Message& message) {
      if (++sent == k) {
        was_given = std::holds_alternative<Go>(message) || std::holds_alternative<Done>(message);
        world.source_cancellation.request();
      }
      return Fate::arrives;
    });
    world.migrate();
    if (sent < k) break;
    INFO("cancelled before message " << k << " of the source");
    check_settled(world);
    CHECK(world.destination_runs() == was_given);
    if (!was_given) CHECK(world.failure() == Errc::cancelled);
  }
}

TEST_CASE("cancelled on the destination before any message, exactly one side runs it", "[migrate][session]") {
  for (std::size_t k = 1; k < 20; ++k) {
    SessionWorld world;
    std::size_t sent = 0;
    world.to_source->before_send([&](Message&) {
      if (++sent == k) world.destination_cancellation.request();
      return Fate::arrives;
    });
    world.migrate();
    if (sent < k) break;
    INFO("cancelled before message " << k << " of the destination");
    check_settled(world);
  }
}

TEST_CASE("an offer that is refused leaves both sides untouched, and the reason arrives", "[migrate][session]") {
  SessionWorld world;
  const auto refuse = [] { throw Error(Errc::no_space, "beta has no room; make some"); };
  SECTION("when it is judged") { world.arrivals.script().at_check = refuse; }
  SECTION("when room is made for it") { world.arrivals.script().at_prepare = refuse; }
  world.migrate();
  check_rolled_back(world, Errc::no_space);
  CHECK(world.report.failure->sentence.find("beta has no room") != std::string::npos);
  CHECK_FALSE(world.story.has("source stops"));
  CHECK(world.outcome.state == DestinationState::discarded);
}

TEST_CASE("a container that cannot be frozen runs on", "[migrate][session]") {
  SessionWorld world;
  world.departure->script().at_stop = [] { throw Error(Errc::freeze_timed_out, "a task does not stop"); };
  world.migrate();
  check_rolled_back(world, Errc::freeze_timed_out);
}

TEST_CASE("a container that CRIU cannot write down is thawed", "[migrate][session]") {
  SessionWorld world;
  world.departure->script().at_dump = [] { throw Error(Errc::checkpoint_failed, "io_uring is not supported"); };
  world.migrate();
  check_rolled_back(world, Errc::checkpoint_failed);
  CHECK(world.story.has("source thaws"));
}

TEST_CASE("a container that somebody else thawed is not given away", "[migrate][session]") {
  SessionWorld world;
  world.departure->script().is_thawed_by_somebody = true;
  world.migrate();
  check_rolled_back(world, Errc::checkpoint_failed);
  CHECK_FALSE(world.story.has("source records GIVEN"));
  CHECK(world.story.has("destination records REFUSED"));
}

TEST_CASE("a container that CRIU cannot restore goes on at the source", "[migrate][session]") {
  SessionWorld world;
  world.arrivals.script().at_restore = [] { throw Error(Errc::restore_failed, "beta: criu: no such cgroup"); };
  world.migrate();
  check_rolled_back(world, Errc::restore_failed);
  CHECK(world.report.failure->sentence.find("no such cgroup") != std::string::npos);
  CHECK_FALSE(world.story.has("destination records PREPARED"));
}

TEST_CASE("a container that does not start at once is started again: there is no way back", "[migrate][session]") {
  SessionWorld world;
  int attempts = 0;
  world.arrivals.script().at_run = [&] {
    if (++attempts < 4) throw Error(EIO, "thaw", "beta");
  };
  world.migrate();
  check_settled(world);
  CHECK(world.destination_runs());
  CHECK(attempts == 4);
}

TEST_CASE("a digest that differs ends the migration before the gift", "[migrate][session]") {
  SessionWorld world;
  SECTION("of a round, seen by the destination") {
    world.to_destination->before_send(on<RoundEnd>([](RoundEnd& end) { return ++end.root.low, Fate::arrives; }));
  }
  SECTION("of a round, seen by the source") {
    world.to_source->before_send(on<RoundAck>([](RoundAck& ack) { return ++ack.root.low, Fate::arrives; }));
  }
  SECTION("of a checkpoint file") {
    world.to_destination->before_send(
        on<Manifest>([](Manifest& manifest) { return ++manifest.files.at(1).digest.low, Fate::arrives; }));
  }
  SECTION("of the restored image") {
    world.to_source->before_send(on<Ready>([](Ready& ready) { return ++ready.root.low, Fate::arrives; }));
  }
  world.migrate();
  check_rolled_back(world, Errc::digest_mismatch);
}

TEST_CASE("--verify reads the copy again and finds what a disk did to it", "[migrate][session]") {
  SessionWorld world({.verifies = true});
  SECTION("a good disk") {
    world.migrate();
    check_settled(world);
    CHECK(world.destination_runs());
    CHECK(world.report.was_verified);
  }
  SECTION("a bad disk") {
    world.arrivals.script().has_rotten_block = true;
    world.migrate();
    check_rolled_back(world, Errc::digest_mismatch);
  }
}

TEST_CASE("a write tracker that lost track costs a comparison, not the copy", "[migrate][session]") {
  SessionWorld world;
  SECTION("while it runs") {
    int armed = 0;
    world.departure->script().at_arm = [&](FakeTracker& tracker) {
      if (++armed == 1) tracker.lose_track();
    };
    world.migrate();
    CHECK(armed == 2);
  }
  SECTION("while it stands still") {
    const auto write_until_the_end = world.departure->script().at_stop;
    world.departure->script().at_stop = [&] {
      write_until_the_end();
      world.departure->tracker().lose_track();
    };
    world.migrate();
  }
  check_settled(world);
  CHECK(world.destination_runs());
}

TEST_CASE("a disk error on either side ends the migration, and the container runs on", "[migrate][session]") {
  SessionWorld world;
  SECTION("reading") {
    world.volume.fail_reads_of(BlockIndex{5});
    world.migrate();
    check_rolled_back(world, Errc::copy_failed);
  }
  SECTION("writing") {
    world.arrivals.script().at_prepare = {};
    world.to_destination->before_send(on<BlockData>([&, is_first = true](BlockData&) mutable {
      if (std::exchange(is_first, false)) world.arrivals.sink().fail_write_after(1, ENOSPC);
      return Fate::arrives;
    }));
    world.migrate();
    check_rolled_back(world, Errc::disk_full);
  }
  SECTION("flushing the last round") {
    world.departure->script().at_dump = [&] { world.arrivals.sink().fail_flush(); };
    world.migrate();
    check_rolled_back(world, Errc::copy_failed);
  }
}

TEST_CASE("a container that writes faster than the link is not frozen with --on-stall=abort", "[migrate][session]") {
  SessionWorld world({.downtime_max = 1ms, .rounds_max = 5, .on_stall = OnStall::abort, .bandwidth_max = 1 << 20});
  unsigned seed = 10;
  world.to_destination->before_send(on<RoundEnd>([&](RoundEnd&) {
    world.volume.write(Extent{{100}, 200}, ++seed);
    return Fate::arrives;
  }));
  world.migrate();
  check_rolled_back(world, Errc::not_converging);
  CHECK_FALSE(world.story.has("source stops"));
}

namespace {

/// A container that writes 200 blocks, 800 KiB, in every round, and less as it gets less CPU time.
struct BusyWorld : SessionWorld {
  explicit BusyWorld(bool auto_converge)
      : SessionWorld({.downtime_max = 1450ms,   // 300 ms, a second for the memory, and 38 blocks
                      .on_stall = OnStall::abort,
                      .auto_converge = auto_converge,
                      .bandwidth_max = 1 << 20}) {
    to_destination->before_send(on<RoundEnd>([this](RoundEnd& end) {
      if (end.kind == 0) volume.write(Extent{{100}, 2 * (100 - departure->throttle_percent())}, ++seed);
      return Fate::arrives;
    }));
    departure->script().at_dump = [this] { percent_at_dump = departure->throttle_percent(); };
  }
  std::vector<unsigned> percents_told() const {
    std::vector<unsigned> percents;
    for (const auto& event : events.all)
      if (event["event"] == "throttle") percents.push_back(event["percent"]);
    return percents;
  }

  unsigned seed = 10;
  unsigned percent_at_dump = 100;
};

}  // namespace

TEST_CASE("a container that is given up without --auto-converge is throttled with it, until it fits",
          "[migrate][session]") {
  BusyWorld alone(false);
  alone.migrate();
  check_rolled_back(alone, Errc::not_converging);
  CHECK(alone.report.failure->sentence.find("the dirty set does not shrink any more") != std::string::npos);
  CHECK(alone.percents_told().empty());

  BusyWorld helped(true);
  helped.migrate();
  check_settled(helped);
  CHECK(helped.destination_runs());
  CHECK(helped.percents_told() == std::vector<unsigned>{50, 75, 88});
  CHECK(helped.report.throttle_percent == 88);
  CHECK(helped.report.rounds.front().throttle_percent == 0);
  CHECK(helped.report.rounds[helped.report.rounds.size() - 2].throttle_percent == 88);
  CHECK(helped.report.rounds.back().throttle_percent == 0);
  CHECK(helped.percent_at_dump == 0);
}

TEST_CASE("what was throttled is let go when the migration fails", "[migrate][session]") {
  BusyWorld world(true);
  SECTION("because the link is lost") {
    world.departure->script().at_throttle = [&] { world.link->cut(); };
    world.migrate();
    check_rolled_back(world, Errc::connection_lost);
  }
  SECTION("because CRIU cannot write it down") {
    world.departure->script().at_dump = [&] { throw Error(Errc::checkpoint_failed, "no"); };
    world.migrate();
    check_rolled_back(world, Errc::checkpoint_failed);
  }
  CHECK(world.departure->throttle_percent() == 0);
}

TEST_CASE("a container that cannot be throttled is migrated as without --auto-converge", "[migrate][session]") {
  BusyWorld world(true);
  SECTION("because nothing holds its CPU time") { world.departure->script().can_be_throttled = false; }
  SECTION("because the kernel refuses") {
    world.departure->script().at_throttle = [] { throw Error(EINVAL, "write", "cpu.max"); };
  }
  world.migrate();
  check_rolled_back(world, Errc::not_converging);
  CHECK(std::any_of(world.events.all.begin(), world.events.all.end(), [](const nlohmann::json& event) {
    return event["event"] == "remark" && text_in(event, "message").starts_with("it cannot be throttled");
  }));
}

TEST_CASE("when --timeout passes it is cancelled, and the failure says so", "[migrate][session]") {
  SessionWorld world({.timeout = 2s, .bandwidth_max = 1 << 20});
  world.volume.write(Extent{{0}, 1024}, 3);   // takes 4 s
  SECTION("while it is copied") {}
  SECTION("before the destination has answered") { world.to_source->before_send(swallow<Accept>()); }
  world.migrate();
  check_rolled_back(world, Errc::not_converging);
  CHECK(world.report.failure->sentence.starts_with("--timeout (2.00 s) passed"));
  CHECK_FALSE(world.story.has("source stops"));
  CHECK(world.report.total >= 2s);
  CHECK(world.report.total <= 3s);   // what is on its way is a second of that bandwidth
}

TEST_CASE("with --timeout-action=freeze the round ends, and the rest is sent while it stands still",
          "[migrate][session]") {
  SessionWorld world({.timeout = 2s, .timeout_action = TimeoutAction::freeze, .bandwidth_max = 1 << 20});
  world.volume.write(Extent{{0}, 1024}, 3);
  world.migrate();
  check_settled(world);
  CHECK(world.destination_runs());
  REQUIRE(world.report.rounds.size() == 2);
  CHECK(world.report.rounds[0].bytes_left >= 1 << 20);
  CHECK(world.report.rounds[1].data_bytes >= world.report.rounds[0].bytes_left);
  CHECK(world.report.total <= 4s);
}

TEST_CASE("a freeze that cannot be over before --freeze-timeout is not tried", "[migrate][session]") {
  SessionWorld world({.freeze_timeout = 2s,
                      .timeout = 2s,
                      .timeout_action = TimeoutAction::freeze,
                      .bandwidth_max = 1 << 20});
  world.volume.write(Extent{{0}, 1024}, 3);
  world.migrate();
  check_rolled_back(world, Errc::not_converging);
  CHECK(world.report.failure->sentence.find("--freeze-timeout 2000 ms") != std::string::npos);
  CHECK_FALSE(world.story.has("source stops"));
}

TEST_CASE("a round whose end nobody acknowledges does not keep --timeout waiting for ever", "[migrate][session]") {
  SessionWorld world({.freeze_timeout = 3s, .timeout = 2s, .timeout_action = TimeoutAction::freeze});
  world.to_source->before_send(swallow<RoundAck>());
  world.migrate();
  check_rolled_back(world, Errc::not_converging);
  CHECK(world.report.total >= 5s);
  CHECK(world.report.total <= 6s);
}

TEST_CASE("what was frozen before --timeout is not disturbed by it", "[migrate][session]") {
  SessionWorld world({.freeze_timeout = 60s, .timeout = 2s, .switchover_bandwidth_max = 100'000});
  world.migrate();
  check_settled(world);
  CHECK(world.destination_runs());
  CHECK(world.report.total > 10s);
}

TEST_CASE("the freeze ends after --freeze-timeout when the destination goes silent", "[migrate][session]") {
  SessionWorld world({.freeze_timeout = 10s});
  TimePoint stopped{};
  TimePoint thawed{};
  world.departure->script().at_stop = [&] { stopped = world.sim.clock().now(); };
  world.departure->script().at_resume = [&] { thawed = world.sim.clock().now(); };
  SECTION("before it has flushed the last round") {
    world.to_source->before_send(
        on<RoundAck>([&](RoundAck& ack) { return ack.round == 1 ? Fate::arrives : Fate::vanishes; }));
  }
  SECTION("before it has restored") { world.to_source->before_send(swallow<Ready>()); }
  world.migrate();
  check_rolled_back(world, Errc::freeze_timed_out);
  CHECK(std::chrono::duration<double>(thawed - stopped).count() <= 11.0);
}

TEST_CASE("when GO vanishes it is asked for, and said again", "[migrate][session]") {
  SessionWorld world;
  SECTION("by the source") { world.unanswered_asks_of_destination = 1000; }
  SECTION("by the destination") { world.unanswered_asks = 1000; }
  SECTION("by both") {}
  world.to_destination->before_send(swallow<Go>());
  world.migrate();
  check_settled(world);
  CHECK(world.destination_runs());
}

TEST_CASE("a destination that is ready when the source gives up hears of it", "[migrate][session]") {
  SessionWorld world;
  world.to_source->before_send(on<Ready>([&](Ready&) { return world.link->cut(), Fate::vanishes; }));
  SECTION("from the source") { world.unanswered_asks_of_destination = 1000; }
  SECTION("because it asks") { world.unanswered_asks = 1000; }
  world.migrate();
  check_settled(world);
  CHECK(world.source_runs());
  CHECK(world.story.has("destination records REFUSED"));
}

TEST_CASE("when RUNNING vanishes the source asks, and releases its copy then", "[migrate][session]") {
  SessionWorld world;
  world.unanswered_asks = 3;
  world.to_source->before_send(swallow<Running>());
  world.migrate();
  check_settled(world);
  CHECK(world.destination_runs());
  CHECK(world.asks == 4);
}

TEST_CASE("an answer to GO for another migration is not believed", "[migrate][session]") {
  SessionWorld world;
  world.to_source->before_send(on<Running>([](Running& running) { return ++running.id.low, Fate::arrives; }));
  world.migrate();
  check_settled(world);
  CHECK(world.destination_runs());
}

TEST_CASE("a GO for another migration is not believed", "[migrate][session]") {
  SessionWorld world;
  world.to_destination->before_send(on<Go>([](Go& go) { return ++go.id.low, Fate::arrives; }));
  world.migrate();
  check_settled(world);
  CHECK(world.destination_runs());
}

TEST_CASE("while nobody answers after the gift, nobody runs it", "[migrate][session]") {
  SessionWorld world;
  world.unanswered_asks = 1000;
  world.unanswered_asks_of_destination = 1000;
  world.to_destination->before_send(on<Go>([&](Go&) { return world.link->cut(), Fate::vanishes; }));
  world.migrate();
  check_order(world);
  CHECK(world.report.outcome == Outcome::in_doubt);
  CHECK(world.failure() == Errc::in_doubt);
  CHECK_FALSE(world.source_runs());
  CHECK_FALSE(world.destination_runs());
  CHECK(world.departure->container() == FakeDeparture::Container::fenced);
}

TEST_CASE("when GIVEN cannot be recorded it is thawed only after the destination's recorded refusal",
          "[migrate][session]") {
  SessionWorld world;
  std::optional<FileSizeLimit> limit;
  world.departure->script().at_fence = [&] { limit.emplace(0); };
  world.after_asks = [&] { limit.reset(); };
  SECTION("asked by the source") { world.unanswered_asks_of_destination = 1000; }
  SECTION("asked by the destination") { world.unanswered_asks = 1000; }
  world.migrate();
  limit.reset();
  check_order(world);
  CHECK_FALSE(world.story.has("source sends Go"));
  CHECK(world.story.has_in_order("destination records REFUSED", "source thaws"));
  CHECK(world.source_runs());
  CHECK(world.report.outcome == Outcome::aborted);
}

TEST_CASE("when GIVEN cannot be recorded and the destination does not answer nothing is thawed", "[migrate][session]") {
  SessionWorld world;
  world.unanswered_asks = 1000;
  world.unanswered_asks_of_destination = 1000;
  std::optional<FileSizeLimit> limit;
  world.departure->script().at_fence = [&] { limit.emplace(0); };
  world.after_asks = [&] { limit.reset(); };
  world.migrate();
  limit.reset();
  CHECK_FALSE(world.story.has("source sends Go"));
  CHECK(world.departure->container() == FakeDeparture::Container::fenced);
  CHECK_FALSE(world.destination_runs());
}

TEST_CASE("when RELEASED cannot be recorded the copy stays, and the report says that it runs there",
          "[migrate][session]") {
  SessionWorld world;
  std::optional<FileSizeLimit> limit;
  world.to_source->before_send(on<Running>([&](Running&) { return limit.emplace(kOneRecord), Fate::arrives; }));
  world.migrate();
  limit.reset();
  check_order(world);
  CHECK(world.destination_runs());
  CHECK(world.departure->container() == FakeDeparture::Container::fenced);
  CHECK(world.report.outcome == Outcome::cleanup_pending);
}

TEST_CASE("when the copy cannot be removed the report says that it runs there", "[migrate][session]") {
  SessionWorld world;
  world.departure->script().at_release = [] { throw Error(EBUSY, "umount", "/srv/ct"); };
  world.migrate();
  check_order(world);
  CHECK(world.destination_runs());
  CHECK(world.report.outcome == Outcome::cleanup_pending);
  CHECK(world.story.has("source records RELEASED"));
}

TEST_CASE("a PREPARED whose writing failed is taken back", "[migrate][session]") {
  SessionWorld world;
  set_failpoint_handler([](std::string_view name) {
    if (name == "journal.prepared.before_fsync") throw Error(EIO, "write", "journal");
  });
  world.migrate();
  set_failpoint_handler({});
  check_settled(world);
  CHECK(world.source_runs());
  CHECK(world.story.has("destination records REFUSED"));
  CHECK_FALSE(world.story.has("destination sends Ready"));
}

TEST_CASE("when a failed PREPARED cannot be taken back, everything stays at the destination", "[migrate][session]") {
  SessionWorld world;
  std::optional<FileSizeLimit> limit;
  world.arrivals.script().at_restore = [&] { limit.emplace(0); };
  world.migrate();
  limit.reset();
  check_order(world);
  CHECK(world.source_runs());
  CHECK(world.report.outcome == Outcome::aborted);
  CHECK(world.arrivals.container() == FakeArrivalHost::Container::held);
  CHECK_FALSE(world.story.has("destination sends Ready"));
  CHECK_FALSE(world.story.has("destination sends Refuse"));
}

TEST_CASE("when OWNED cannot be recorded it runs nowhere: nobody knows what is on that disk", "[migrate][session]") {
  SessionWorld world;
  std::optional<FileSizeLimit> limit;
  world.to_destination->before_send(on<Go>([&](Go&) { return limit.emplace(kOneRecord), Fate::arrives; }));
  world.migrate();
  limit.reset();
  check_order(world);
  CHECK_FALSE(world.source_runs());
  CHECK_FALSE(world.destination_runs());
  CHECK(world.arrivals.container() == FakeArrivalHost::Container::held);
  CHECK(world.report.outcome == Outcome::in_doubt);
}

TEST_CASE("blocks on the first connection are refused", "[migrate][session]") {
  SessionWorld world;
  const std::vector<std::byte> block(kBlockBytes);
  world.to_destination->before_send([&, is_first = true](Message& message) mutable {
    if (std::holds_alternative<RoundEnd>(message) && std::exchange(is_first, false)) message = BlockData{0, 1, block};
    return Fate::arrives;
  });
  world.migrate();
  check_rolled_back(world, Errc::protocol_violation);
}

TEST_CASE("a round after the final one is refused", "[migrate][session]") {
  SessionWorld world;
  world.to_destination->before_send([](Message& message) {
    if (std::holds_alternative<Manifest>(message)) message = RoundEnd{3, 1, {}};
    return Fate::arrives;
  });
  world.migrate();
  check_rolled_back(world, Errc::protocol_violation);
}

TEST_CASE("without a connection for the blocks nothing is copied", "[migrate][session]") {
  SessionWorld world;
  const auto change_streams = [](std::string& text) {
    auto document = nlohmann::json::parse(text);
    (document.contains("options") ? document["options"] : document)["streams"] = 0;
    text = document.dump();
  };
  std::string sentence;
  SECTION("that the source offers") {
    world.to_destination->before_send(on<Open>([&](Open& open) { return change_streams(open.offer), Fate::arrives; }));
    sentence = "offers no connection for the blocks";
  }
  SECTION("that the destination grants") {
    world.to_source->before_send(
        on<Accept>([&](Accept& accept) { return change_streams(accept.answer), Fate::arrives; }));
    sentence = "grants no connection for the blocks";
  }
  world.migrate();
  check_rolled_back(world, Errc::protocol_violation);
  CHECK(world.report.failure->sentence.find(sentence) != std::string::npos);
  CHECK_FALSE(world.story.has("source sends BlockData"));
}

TEST_CASE("blocks outside of the image are refused", "[migrate][session]") {
  SessionWorld world;
  world.to_destination->before_send(
      on<BlockData>([](BlockData& data) { return data.first_block = 1020, Fate::arrives; }));
  world.migrate();
  check_rolled_back(world, Errc::protocol_violation);
}

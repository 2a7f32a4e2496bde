// SPDX-License-Identifier: GPL-2.0-or-later
// Sessions whose blocks have connections of their own.
#include "migrate/incoming_lanes.h"
#include "tests/migrate/session_world.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t kStreams = 3;

struct LanesWorld : SessionWorld {
  explicit LanesWorld(MigrationOptions options = {}) : SessionWorld(with_streams(options)) {}

  static MigrationOptions with_streams(MigrationOptions options) {
    if (options.streams == 0) options.streams = kStreams;
    return options;
  }
};

void check_one_side_runs_it(LanesWorld& world) {
  INFO(world.story.text());
  CHECK(world.source_runs() != world.destination_runs());
  if (world.destination_runs()) CHECK(world.is_copy_equal());
  else CHECK(world.arrivals.container() == FakeArrivalHost::Container::none);
}

std::size_t messages_on_the_first_lane(std::uint32_t streams = kStreams) {
  LanesWorld world({.streams = streams});
  std::shared_ptr<MemoryLink> first;
  world.at_lane = [&](const auto& link) { first = first ? first : link; };
  std::size_t messages = 0;
  world.to_destination->before_send([&](Message& message) {
    if (std::holds_alternative<Go>(message)) messages = first->messages_sent();
    return WatchedChannel::Fate::arrives;
  });
  world.migrate();
  return messages;
}

/// How one lane ends that says all this in one breath, and then hangs up.
Errc failure_after(std::vector<Message> words) {
  constexpr VolumeGeometry kGeometry{8 * kBlockBytes};
  SimLoop sim;
  TestDirectory directory;
  MemorySink sink(kGeometry);
  DigestIndex digests(kGeometry, directory.path());
  auto pair = make_memory_channels(sim.loop().get_executor(), sim.clock());
  std::vector<std::unique_ptr<Channel>> channels;
  channels.push_back(std::move(pair.second));
  const auto executor = sim.loop().get_executor();
  IncomingLanes lanes(executor, std::move(channels), {sink, digests, kGeometry, sim.clock(), executor});
  const auto say = [&]() -> Task<> {
    for (const Message& word : words) co_await pair.first->send(word);
    pair.first->close();
  };
  const auto hear = [&]() -> Task<> { co_await lanes.reach(9); };   // never comes
  asio::co_spawn(executor, say(), asio::detached);
  std::optional<Errc> code;
  asio::co_spawn(executor, hear(), [&](std::exception_ptr thrown) {
    code = failure_of(thrown, Errc::internal).code;
  });
  REQUIRE(sim.run_until([&] { return code.has_value(); }));
  return *code;
}

}  // namespace

TEST_CASE("blocks that have connections of their own arrive, and none goes over the first", "[migrate][lanes]") {
  LanesWorld world;
  world.to_source->before_handling([](const Message& message) {
    CHECK_FALSE(std::holds_alternative<BlockData>(message));
    CHECK_FALSE(std::holds_alternative<BlockZeroes>(message));
  });
  world.migrate();
  INFO(world.story.text());
  CHECK(world.destination_runs());
  CHECK(world.is_copy_equal());
  CHECK(world.story.has("source sends BlockData"));
  CHECK(world.report.image_digest == world.departure->digests().root());
  CHECK(world.report.wire_bytes > 43 * kBlockBytes);
}

TEST_CASE("whichever message a connection for blocks is cut at, exactly one side runs it", "[migrate][lanes]") {
  const auto streams = GENERATE(1U, kStreams);
  const std::size_t messages = messages_on_the_first_lane(streams);
  REQUIRE(messages > 3);
  for (std::size_t k = 1; k <= messages; ++k) {
    INFO("cut at message " << k << " of " << messages << ", streams: " << streams);
    LanesWorld world({.streams = streams});
    bool is_first = true;
    world.at_lane = [&](const auto& link) {
      if (std::exchange(is_first, false)) link->cut_after(k);
    };
    world.migrate();
    check_one_side_runs_it(world);
  }
}

TEST_CASE("a connection for blocks that is lost ends it within seconds, though the others live", "[migrate][lanes]") {
  for (std::size_t k = 1; k <= messages_on_the_first_lane(); ++k) {
    LanesWorld world;
    bool is_first = true;
    world.at_lane = [&](const auto& link) {
      if (std::exchange(is_first, false)) link->cut_after(k);
    };
    world.migrate();
    INFO("cut at message " << k << '\n' << world.story.text());
    CHECK(world.report.total < 10s);
  }
}

TEST_CASE("a disk that fails at the end of a connection for blocks is the reason that is told", "[migrate][lanes]") {
  LanesWorld world;
  bool is_first = true;
  world.at_lane = [&](const auto&) {
    if (std::exchange(is_first, false)) world.arrivals.sink().fail_write_after(1, ENOSPC);
  };
  world.migrate();
  check_one_side_runs_it(world);
  CHECK(world.source_runs());
  REQUIRE(world.report.failure);
  CHECK(world.report.failure->sentence.find("No space left") != std::string::npos);
}

TEST_CASE("a write that is still on its way in one lane never overtakes a later one", "[migrate][lanes]") {
  LanesWorld world;
  world.departure->script().at_stop = [&] {
    world.volume.write(BlockIndex{7}, 70);
    world.volume.write_later(BlockIndex{7}, 71);
  };
  world.migrate();
  CHECK(world.destination_runs());
  CHECK(world.is_copy_equal());
}

TEST_CASE("a round may take as long as its blocks do", "[migrate][lanes]") {
  MigrationOptions options;
  options.bandwidth_max = 20;   // bytes per second: some hours
  LanesWorld world(options);
  world.migrate();
  INFO(world.story.text());
  CHECK_FALSE(world.report.rounds.empty());
  CHECK(world.report.total > 2h);
}

TEST_CASE("a connection for blocks that does not keep to its round is refused", "[migrate][lanes]") {
  using Messages = std::vector<Message>;
  const std::vector<std::byte> block(kBlockBytes);
  const Message round_1 = RoundEnd{1, 0, {}}, blocks = BlockData{0, 1, block};
  CHECK(failure_after({blocks, round_1}) == Errc::connection_lost);
  CHECK(failure_after(Messages{RoundEnd{2, 0, {}}}) == Errc::protocol_violation);
  CHECK(failure_after(Messages{RoundEnd{0, 0, {}}}) == Errc::protocol_violation);
  CHECK(failure_after({round_1, round_1}) == Errc::protocol_violation);
  CHECK(failure_after({round_1, blocks}) == Errc::protocol_violation);
}

TEST_CASE("over lanes a round that --timeout ends early is finished while it stands still", "[migrate][lanes]") {
  LanesWorld world({.timeout = 2s, .timeout_action = TimeoutAction::freeze, .bandwidth_max = 1 << 19});
  world.volume.write(Extent{{0}, 1024}, 3);
  world.migrate();
  INFO(world.story.text());
  CHECK(world.destination_runs());
  CHECK(world.is_copy_equal());
  REQUIRE(world.report.rounds.size() == 2);
  CHECK(world.report.rounds[0].bytes_left >= 1 << 20);
}

TEST_CASE("nobody else's connection joins a migration", "[migrate][lanes]") {
  SimLoop sim;
  Switchboard board;
  const Switchboard::Desk desk(sim.loop().get_executor(), board, Bits128{1, 2}, {"beta"});
  const auto from = [&](const std::string& host) -> std::unique_ptr<Channel> {
    auto link = std::make_shared<MemoryLink>(sim.loop().get_executor(), MemoryLink::Options{});
    return std::make_unique<MemoryChannel>(std::move(link), 0, sim.clock(), host + " (memory)");
  };
  auto ours = from("beta"), another_migrations = from("beta"), gammas = from("gamma");
  CHECK_FALSE(board.join({Bits128{3, 4}}, another_migrations));
  CHECK_FALSE(board.join({Bits128{1, 2}}, gammas));
  CHECK(gammas != nullptr);
  CHECK(board.join({Bits128{1, 2}}, ours));
}

// SPDX-License-Identifier: GPL-2.0-or-later
// Sessions whose destination holds an earlier copy: only what differs is sent, whatever happens meanwhile.
#include "base/log.h"
#include "migrate/base_digests.h"
#include "tests/migrate/session_world.h"
#include "tests/support/run_task.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

using Fate = WatchedChannel::Fate;

/// The destination holds the volume as it was, and one write and one discard earlier.
struct ResumeWorld : SessionWorld {
  explicit ResumeWorld(MigrationOptions options = {}) : SessionWorld(options), earlier(kVolumeBytes) {
    earlier.write(Extent{{0}, 40}, 1);
    earlier.write(Extent{{500}, 3}, 2);
    earlier.write(Extent{{20}, 2}, 3);     // another content than now
    earlier.write(Extent{{700}, 10}, 4);   // a hole now
    arrivals.script().base = &earlier;
    to_destination->before_send([this](Message& message) {
      if (const auto* data = std::get_if<BlockData>(&message)) blocks_sent += data->block_count;
      if (const auto* zeroes = std::get_if<BlockZeroes>(&message)) zeroes_sent += zeroes->block_count;
      return Fate::arrives;
    });
  }
  /// What the destination says instead of its DigestsEnd or Digests.
  template <typename T>
  void falsify(std::function<void(T&)> change) {
    to_source->before_send([change](Message& message) {
      if (auto* wanted = std::get_if<T>(&message)) change(*wanted);
      return Fate::arrives;
    });
  }

  MemoryVolume earlier;
  std::uint64_t blocks_sent = 0;
  std::uint64_t zeroes_sent = 0;
};

/// One Digests after another, told to a source whose volume has 1024 blocks.
std::optional<Errc> refusal_of(const std::vector<Message>& told) {
  SimLoop sim;
  TestDirectory directory;
  auto channels = make_memory_channels(sim.loop().get_executor(), sim.clock(), {.queue_messages_max = 100});
  DigestIndex digests({1024 * kBlockBytes}, directory.path());
  std::optional<Errc> refused;
  bool has_ended = false;
  const auto tell = [&]() -> Task<> {
    for (const Message& message : told) co_await channels.second->send(message);
  };
  const auto hear = [&]() -> Task<> {
    std::optional<Message> heard;
    const BaseHearing parts{*channels.first, sim.pool(), {1024 * kBlockBytes}, digests, heard};
    try {
      co_await hear_base(parts);
    } catch (const Error& error) {
      refused = error.code_or(Errc::internal);
    }
    has_ended = true;
  };
  asio::co_spawn(sim.loop(), tell(), asio::detached);
  asio::co_spawn(sim.loop(), hear(), asio::detached);
  REQUIRE(sim.run_until([&] { return has_ended; }));
  return refused;
}

[[maybe_unused]] const bool kIsQuiet = (set_log_level(LogLevel::error), true);

}  // namespace

TEST_CASE("a destination that has an earlier copy is sent what differs from it", "[migrate][resume]") {
  ResumeWorld world;
  world.migrate();
  INFO(world.story.text());
  REQUIRE(world.destination_runs());
  CHECK(world.is_copy_equal());
  // Two blocks that differed and the two that the container writes at last; ten that are a hole, one that it zeroes.
  CHECK(world.blocks_sent == 2 + 2);
  CHECK(world.zeroes_sent == 10 + 1);
  CHECK(world.report.base_bytes == (40 + 3 + 10) * kBlockBytes);
  CHECK(world.report.rounds.at(0).compares);
  CHECK_FALSE(world.report.rounds.at(1).compares);
  CHECK(world.story.has_in_order("destination sends DigestsEnd", "source sends BlockData"));
}

TEST_CASE("the same over several connections for blocks", "[migrate][resume]") {
  ResumeWorld world({.streams = 2});
  world.migrate();
  INFO(world.story.text());
  REQUIRE(world.destination_runs());
  CHECK(world.is_copy_equal());
  CHECK(world.report.rounds.at(0).data_bytes == 2 * kBlockBytes);
}

TEST_CASE("an earlier copy that is equal costs no block", "[migrate][resume]") {
  ResumeWorld world;
  world.arrivals.script().base = &world.volume;
  world.migrate();
  REQUIRE(world.destination_runs());
  CHECK(world.report.rounds.at(0).data_bytes == 0);
}

TEST_CASE("a destination without an earlier copy tells no digests", "[migrate][resume]") {
  ResumeWorld world;
  MemoryVolume empty(SessionWorld::kVolumeBytes);
  SECTION("at all") { world.arrivals.script().base = nullptr; }
  SECTION("that has anything in it") { world.arrivals.script().base = &empty; }
  world.migrate();
  REQUIRE(world.destination_runs());
  CHECK(world.is_copy_equal());
  CHECK_FALSE(world.story.has("destination sends Digests"));
  CHECK_FALSE(world.story.has("destination sends DigestsEnd"));
  CHECK(world.report.base_bytes == 0);
}

TEST_CASE("a source that wants to send everything does not take less", "[migrate][resume]") {
  ResumeWorld world({.resumes = false});
  world.migrate();
  CHECK(world.source_runs());
  CHECK(world.failure() == Errc::protocol_violation);
}

TEST_CASE("a destination that lies about what it has is found out before a block is sent", "[migrate][resume]") {
  ResumeWorld world;
  SECTION("in the sum") { world.falsify<DigestsEnd>([](DigestsEnd& end) { ++end.root.low; }); }
  SECTION("beyond the end") { world.falsify<Digests>([](Digests& digests) { digests.first_block += 1000; }); }
  world.migrate();
  CHECK(world.source_runs());
  CHECK(world.failure() == Errc::protocol_violation);
  CHECK(world.blocks_sent == 0);
}

TEST_CASE("what a destination has and does not tell is found by the digest of the first round", "[migrate][resume]") {
  ResumeWorld world;
  world.falsify<Digests>([](Digests& digests) { ++digests.first_block; });   // so block 700 is not told
  world.migrate();
  INFO(world.story.text());
  CHECK(world.source_runs());
  CHECK(world.failure() == Errc::digest_mismatch);
  CHECK(world.arrivals.leftovers() == Leftovers::nothing);
}

TEST_CASE("a digest that is not that of the block behind it costs that block", "[migrate][resume]") {
  ResumeWorld world;
  std::vector<std::byte> changed;
  Bits128 error;
  world.to_source->before_send([&](Message& message) {
    if (auto* digests = std::get_if<Digests>(&message); digests != nullptr && changed.empty()) {
      changed.assign(digests->bytes.begin(), digests->bytes.end());
      changed[0] ^= std::byte{1};
      error.low = (changed[0] & std::byte{1}) == std::byte{1} ? 1 : ~std::uint64_t{0};
      error.high = error.low == 1 ? 0 : ~std::uint64_t{0};
      digests->bytes = changed;
    }
    if (auto* end = std::get_if<DigestsEnd>(&message)) {
      const std::uint64_t low = end->root.low + error.low;
      end->root.high += error.high + (low < error.low ? 1 : 0);
      end->root.low = low;
    }
    return Fate::arrives;
  });
  world.migrate();
  INFO(world.story.text());
  // The source sends a block too many, for it believes that it differs. So nothing is lost.
  CHECK(world.destination_runs());
  CHECK(world.is_copy_equal());
  CHECK(world.blocks_sent == 2 + 1 + 2);
}

TEST_CASE("digests out of order or out of bounds are refused", "[migrate][resume]") {
  const std::vector<std::byte> two(2 * kWireDigestBytes, std::byte{7});
  const Message first = Digests{10, two};
  CHECK(refusal_of({first, Digests{11, two}}) == Errc::protocol_violation);
  CHECK(refusal_of({first, Digests{5, two}}) == Errc::protocol_violation);
  CHECK(refusal_of({first, Digests{12, {}}}) == Errc::protocol_violation);   // says nothing new
  CHECK(refusal_of({Digests{0, {}}}) == Errc::protocol_violation);
  CHECK(refusal_of({Digests{1023, two}}) == Errc::protocol_violation);
  CHECK(refusal_of({Digests{1025, {}}}) == Errc::protocol_violation);
  CHECK(refusal_of({first, DigestsEnd{}}) == Errc::protocol_violation);
  CHECK(refusal_of({first, RoundAck{}}) == Errc::protocol_violation);
  CHECK(refusal_of({Digests{1024, {}}, DigestsEnd{}}) == std::nullopt);
  CHECK(refusal_of({Digests{1022, std::span(two).first(16)}, Digests{1023, {}}}) == Errc::protocol_violation);
}

TEST_CASE("whichever message a link is cut at, exactly one side runs it, and the copy stays", "[migrate][resume]") {
  const auto is_lane = GENERATE(false, true);
  const auto on_link = [is_lane](ResumeWorld& world, ResumeWorld::AtLink deed) {
    if (is_lane) world.at_lane = std::move(deed);
    else deed(world.link);
  };
  std::size_t messages = 0;
  {
    ResumeWorld world;
    std::shared_ptr<MemoryLink> lane;
    world.at_lane = [&](const auto& one) { lane = one; };
    world.departure->script().at_release = [&] { messages = lane->messages_sent(); };
    world.migrate();
    if (!is_lane) messages = world.link->messages_sent();
  }
  REQUIRE(messages > (is_lane ? 6 : 12));
  for (std::size_t k = 1; k <= messages; ++k) {
    INFO("cut at message " << k << " of " << messages << (is_lane ? " of the lane" : ""));
    ResumeWorld world;
    on_link(world, [k](const auto& one) { one->cut_after(k); });
    world.migrate();
    CHECK(world.source_runs() != world.destination_runs());
    if (!world.source_runs()) continue;
    if (world.arrivals.leftovers()) CHECK(world.arrivals.leftovers() != Leftovers::nothing);
  }
}

TEST_CASE("what is left of a copy depends on what ended it", "[migrate][resume]") {
  MigrationOptions options;
  Leftovers expected = Leftovers::nothing;
  std::function<void(SessionWorld&)> end;
  const auto at_first_blocks = [](std::function<void(SessionWorld&)> deed) {
    return [deed](SessionWorld& world) {
      world.to_destination->before_send([&world, deed, is_done = false](Message& message) mutable {
        if (std::holds_alternative<BlockData>(message) && !std::exchange(is_done, true)) deed(world);
        return Fate::arrives;
      });
    };
  };
  SECTION("the network: it is kept") {
    end = at_first_blocks([](SessionWorld& world) { world.link->cut(); });
    expected = Leftovers::partial_copy;
  }
  SECTION("the source's operator: only what was there before") {
    end = at_first_blocks([](SessionWorld& world) { world.source_cancellation.request(); });
    expected = Leftovers::base;
  }
  SECTION("the source's operator, who wants it to be kept") {
    options.keeps_partial = true;
    end = at_first_blocks([](SessionWorld& world) { world.source_cancellation.request(); });
    expected = Leftovers::partial_copy;
  }
  SECTION("the destination's operator: only what was there before") {
    end = at_first_blocks([](SessionWorld& world) { world.destination_cancellation.request(); });
    expected = Leftovers::base;
  }
  SECTION("the end of the destination's agent: it is kept") {
    end = at_first_blocks([](SessionWorld& world) { world.destination_cancellation.shut_down(); });
    expected = Leftovers::partial_copy;
  }
  SECTION("a full disk: nothing") {
    end = [](SessionWorld& world) {
      world.to_destination->before_send([&world](Message& message) {
        if (std::holds_alternative<BlockData>(message)) world.arrivals.sink().fail_write_after(1, ENOSPC);
        return Fate::arrives;
      });
    };
  }
  SECTION("a disk that fails: nothing") {
    end = [](SessionWorld& world) {
      world.to_destination->before_send([&world](Message& message) {
        if (std::holds_alternative<BlockData>(message)) world.arrivals.sink().fail_write_after(1, EIO);
        return Fate::arrives;
      });
    };
  }
  SECTION("a digest that differs: nothing") {
    end = [](SessionWorld& world) {
      world.to_destination->before_send([](Message& message) {
        if (auto* round = std::get_if<RoundEnd>(&message)) ++round->root.low;
        return Fate::arrives;
      });
    };
  }
  SessionWorld world(options);
  end(world);
  world.migrate();
  INFO(world.story.text());
  CHECK(world.source_runs());
  CHECK(world.arrivals.leftovers() == expected);
}

// SPDX-License-Identifier: GPL-2.0-or-later
// Events beside messages: in order, out of the way, and never the end of a session.
#include "migrate/event_channel.h"

#include "tests/catch.h"
#include "tests/support/memory_channel.h"
#include "tests/support/run_task.h"

using namespace vmigrate;
using nlohmann::json;

namespace {

class Seen final : public Progress {
 public:
  void report(const json& event) noexcept override { events.push_back(event); }
  std::vector<json> events;
};

Task<MemoryChannelPair> make_pair(Clock& clock, std::size_t room = 2000) {
  const auto executor = co_await asio::this_coro::executor;
  MemoryLink::Options options;
  options.queue_messages_max = room;
  co_return make_memory_channels(executor, clock, options);
}

}  // namespace

TEST_CASE("events go before the next message, in their order", "[migrate][events]") {
  SteadyClock clock;
  const auto steps = [&]() -> Task<> {
    auto pair = co_await make_pair(clock);
    ReportingChannel source(*pair.first);
    Seen seen;
    ForwardingChannel destination(*pair.second, seen);
    source.report({{"event", "round"}, {"round", 1}});
    source.report({{"event", "round"}, {"round", 2}});
    const Message go = Go{{1, 2}};
    co_await source.send(go);
    CHECK(pair.link->messages_sent() == 3);
    const Go received = co_await expect<Go>(destination);
    CHECK(received.id == MigrationId{1, 2});
    REQUIRE(seen.events.size() == 2);
    CHECK(seen.events[0]["round"] == 1);
    CHECK(seen.events[1]["round"] == 2);
    CHECK(destination.report().is_null());
  };
  run_task(steps());
}

TEST_CASE("the report is kept aside, and what waits goes with flush", "[migrate][events]") {
  SteadyClock clock;
  const auto steps = [&]() -> Task<> {
    auto pair = co_await make_pair(clock);
    ReportingChannel source(*pair.first);
    Seen seen;
    ForwardingChannel destination(*pair.second, seen);
    source.report({{"event", "report"}, {"result", "migrated"}});
    co_await source.flush();
    const Message done = Done{};
    co_await source.send(done);
    co_await expect<Done>(destination);
    CHECK(destination.report()["result"] == "migrated");
    CHECK(seen.events.empty());
  };
  run_task(steps());
}

TEST_CASE("events that nobody takes are bounded", "[migrate][events]") {
  SteadyClock clock;
  const auto steps = [&]() -> Task<> {
    auto pair = co_await make_pair(clock);
    ReportingChannel source(*pair.first);
    for (int i = 0; i < 5000; ++i) source.report({{"event", "remark"}});
    co_await source.flush();
    CHECK(pair.link->messages_sent() <= 1000);
  };
  run_task(steps());
}

TEST_CASE("an event that is no JSON object, or whose name is no word, is the peer's mistake", "[migrate][events]") {
  SteadyClock clock;
  for (const std::string text : {"", "[]", "17", "{", "\xff", R"({"event":17})"}) {
    INFO(text);
    const auto steps = [&]() -> Task<Errc> {
      auto pair = co_await make_pair(clock);
      Seen seen;
      ForwardingChannel destination(*pair.second, seen);
      const Message event = Event{text};
      co_await pair.first->send(event);
      try {
        co_await destination.receive();
      } catch (const Error& error) {
        co_return error.code_or(Errc::internal);
      }
      co_return Errc::internal;
    };
    CHECK(run_task(steps()) == Errc::protocol_violation);
  }
}

TEST_CASE("an event with bytes that are no UTF-8 does not end the program", "[migrate][events]") {
  SteadyClock clock;
  const auto steps = [&]() -> Task<> {
    auto pair = co_await make_pair(clock);
    ReportingChannel source(*pair.first);
    Seen seen;
    ForwardingChannel destination(*pair.second, seen);
    source.report({{"event", "remark"}, {"message", "a peer's \xff"}});
    const Message done = Done{};
    co_await source.send(done);
    co_await expect<Done>(destination);
    CHECK(seen.events.size() == 1);
  };
  run_task(steps());
}

TEST_CASE("an event that is not known is passed on", "[migrate][events]") {
  SteadyClock clock;
  const auto steps = [&]() -> Task<> {
    auto pair = co_await make_pair(clock);
    Seen seen;
    ForwardingChannel destination(*pair.second, seen);
    for (const char* text : {R"({})", R"({"event":"unknown"})"}) {
      const Message event = Event{text};
      co_await pair.first->send(event);
    }
    const Message done = Done{};
    co_await pair.first->send(done);
    co_await expect<Done>(destination);
    CHECK(seen.events.size() == 2);
  };
  run_task(steps());
}

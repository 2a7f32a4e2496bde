// SPDX-License-Identifier: GPL-2.0-or-later
// Two hosts in memory and the real sessions between them: the seed of the simulator.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/detached.hpp>
#include <nlohmann/json.hpp>

#include "migrate/destination_session.h"
#include "migrate/journal_answer.h"
#include "migrate/source_session.h"
#include "tests/catch.h"
#include "tests/support/fake_arrival.h"
#include "tests/support/fake_departure.h"
#include "tests/support/memory_channel.h"
#include "tests/support/sim_clock.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/watched_channel.h"

namespace vmigrate {

/// Keeps every event.
class Events final : public Progress {
 public:
  void report(const nlohmann::json& event) noexcept override { all.push_back(event); }
  std::vector<nlohmann::json> all;
};

/// One attempt to move the container "ct". Set it up, call migrate() once, look at what became of it.
class SessionWorld {
 public:
  static constexpr std::uint64_t kVolumeBytes = 1024 * kBlockBytes;
  static constexpr int kAsksMax = 40;

  /// What is done with a link. Whoever looks at it later keeps it.
  using AtLink = std::function<void(const std::shared_ptr<MemoryLink>& link)>;

  /// Where `options` name no number of streams there is one.
  explicit SessionWorld(MigrationOptions options = {})
      : volume(kVolumeBytes),
        arrivals(directory.path() / "destination", story),
        streams_to_open(std::max(options.streams, 1U)) {
    for (const char* side : {"source", "destination"}) std::filesystem::create_directories(directory.path() / side);
    volume.write(Extent{{0}, 40}, 1);
    volume.write(Extent{{500}, 3}, 2);
    departure =
        std::make_unique<FakeDeparture>(volume, sim.pool(), directory.path() / "source", offer_with(options), story);
    departure->script().at_stop = [this] { write_until_the_end(); };
    auto channels = make_memory_channels(sim.loop().get_executor(), sim.clock());
    link = channels.link;
    to_destination = std::make_unique<WatchedChannel>(std::move(channels.first), "source", story);
    to_source = std::make_unique<WatchedChannel>(std::move(channels.second), "destination", story);
  }

  /// Runs both sessions to their ends.
  void migrate() {
    asio::co_spawn(sim.loop(), run_source(), asio::detached);
    asio::co_spawn(sim.loop(), run_destination(), asio::detached);
    const bool has_ended = sim.run_until([this] { return is_source_done_ && is_destination_done_; });
    INFO(story.text());
    REQUIRE(has_ended);
  }

  bool source_runs() const { return departure->container() == FakeDeparture::Container::running; }
  bool destination_runs() const { return arrivals.container() == FakeArrivalHost::Container::running; }
  bool is_copy_equal() {
    const auto ours = volume.content();
    const auto theirs = arrivals.sink().content();
    return std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end());
  }
  /// The code of the report's failure; nothing if it has none.
  std::optional<Errc> failure() const {
    return report.failure ? std::optional(report.failure->code) : std::nullopt;
  }

  TestDirectory directory;
  SimLoop sim;
  Story story;
  MemoryVolume volume;
  FakeArrivalHost arrivals;
  std::unique_ptr<FakeDeparture> departure;
  std::shared_ptr<MemoryLink> link;
  std::unique_ptr<WatchedChannel> to_destination;   ///< the source's end
  std::unique_ptr<WatchedChannel> to_source;        ///< the destination's end
  Cancellation source_cancellation;
  Cancellation destination_cancellation;
  Events events;
  /// Asks of each side that nobody answers before the other's agent is there again. Beyond kAsksMax the process ends.
  int unanswered_asks = 0;
  int asks = 0;
  int unanswered_asks_of_destination = 0;
  int asks_of_destination = 0;
  std::function<void()> after_asks = [] {};   ///< runs at the first of them
  std::uint32_t streams_to_open;              ///< what is dialled before that joins the migration
  AtLink at_lane = [](const auto&) {};        ///< sees each of these

  Precedence* precedence = nullptr;           ///< of the source's host
  RateBoard* rate_board = nullptr;            ///< the same

  MigrationReport report;
  ArrivalOutcome outcome;

 private:
  static Offer offer_with(MigrationOptions options) {
    options.streams = std::max(options.streams, 1U);
    return {.container = "ct",
            .runtime = "runc",
            .config = "{}",
            .file_system = "ext4",
            .volume_bytes = kVolumeBytes,
            .used_bytes = 43 * kBlockBytes,
            .memory_bytes = 1 << 20,
            .checkpoint_bytes_max = 4 << 20,
            .epoch = 2,
            .options = options};
  }

  /// What a container does before it is frozen: one write on the device, one zeroed block, one still in the page cache.
  void write_until_the_end() {
    volume.write(BlockIndex{7}, 77);
    volume.write_zeroes({{501}, 1});
    volume.write_later(BlockIndex{900}, 9);
  }

  Task<> run_source() {
    auto place = std::make_unique<Precedence::Place>(precedence);
    co_await place->begin(sim.clock(), source_cancellation);
    SourceSession session({*departure, *to_destination, sim.clock(), events, source_cancellation, Bits128{1, 2},
                           "alpha", source_board_, "beta", [this](std::string) { return dial_destination(); },
                           sim.loop().get_executor(), std::move(place), rate_board});
    report = co_await session.run();
    departure->end();
    to_destination->close();
    is_source_done_ = true;
  }

  Task<> run_destination() {
    DestinationSession session({arrivals, *to_source, sim.clock(), sim.pool(), nobody_, destination_cancellation,
                                destination_board_, "beta", "", [this](std::string) { return dial_source(); },
                                sim.loop().get_executor()});
    std::optional<Open> open;
    try {
      open = co_await expect<Open>(*to_source);
    } catch (const Error&) {
      // The link was cut before anything was said.
    }
    if (open) outcome = co_await session.run(*open);
    to_source->close();
    is_destination_done_ = true;
  }

  Task<std::unique_ptr<Channel>> dial_destination() {
    if (streams_to_open > 0) {
      --streams_to_open;
      auto channel = call(destination_board_, arrivals.journals());
      at_lane(last_link_);
      co_return std::make_unique<WatchedChannel>(std::move(channel), *to_destination);
    }
    after_asks();
    if (++asks > kAsksMax) source_cancellation.shut_down();
    if (asks <= unanswered_asks) throw Error(Errc::connect_failed, "nobody answers at beta");
    co_return call(destination_board_, arrivals.journals());
  }

  Task<std::unique_ptr<Channel>> dial_source() {
    after_asks();
    if (++asks_of_destination > kAsksMax) destination_cancellation.shut_down();
    if (asks_of_destination <= unanswered_asks_of_destination)
      throw Error(Errc::connect_failed, "nobody answers at alpha");
    co_return call(source_board_, directory.path() / "source" / "journal");
  }

  std::unique_ptr<Channel> call(Switchboard& board, const std::filesystem::path& journals) {
    auto channels = make_memory_channels(sim.loop().get_executor(), sim.clock());
    last_link_ = channels.link;
    asio::co_spawn(sim.loop(), answer_ask(board, journals, std::move(channels.second)), asio::detached);
    return std::move(channels.first);
  }

  /// As Agent::answer_ask() and answer_join().
  static Task<> answer_ask(Switchboard& board, std::filesystem::path journals, std::unique_ptr<Channel> channel) {
    try {
      const Message first = co_await channel->receive();
      if (const auto* join = std::get_if<Join>(&first); join != nullptr && board.join(*join, channel)) co_return;
      if (!std::holds_alternative<Ask>(first)) {
        const Message refuse = Refuse{static_cast<std::uint32_t>(Errc::not_authorised), "nobody waits for this"};
        co_await channel->send(refuse);
        co_return;
      }
      const Ask ask = std::get<Ask>(first);
      if (board.put_through(ask, channel)) co_return;
      const Message answer = answer_from_journal(journals, ask);
      co_await channel->send(answer);
    } catch (const Error&) {
      // Whoever asked is gone.
    }
  }

  std::shared_ptr<MemoryLink> last_link_;
  Switchboard source_board_;
  Switchboard destination_board_;
  NoProgress nobody_;
  bool is_source_done_ = false;
  bool is_destination_done_ = false;
};

}  // namespace vmigrate

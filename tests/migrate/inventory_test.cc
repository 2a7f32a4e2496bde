// SPDX-License-Identifier: GPL-2.0-or-later
// What an agent tells of the containers that run on its host.
#include "migrate/inventory.h"

#include <boost/asio/detached.hpp>

#include "tests/catch.h"
#include "tests/support/memory_channel.h"
#include "tests/support/sim_clock.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

Inventory with(std::size_t count) {
  Inventory inventory{.hidden = 7};
  for (std::size_t i = 0; i < count; ++i) inventory.entries.push_back({"ct" + std::to_string(i)});
  return inventory;
}

std::optional<Errc> refusal(const std::string& text) {
  try {
    inventory_from_json(text);
  } catch (const Error& error) {
    return error.code_or(Errc::internal);
  }
  return std::nullopt;
}

std::string with_one(const std::string& entry) {
  return R"({"containers":[)" + entry + R"(],"hidden":0,"has_more":false})";
}

/// An operator in simulated time, whose agent says Listing after Listing.
struct Listener {
  /// Up to `count` of `piece`, one after each `pause`. Returns why no more were taken; nothing if all was well.
  std::optional<Errc> refusal_of(const Inventory& piece, std::size_t count, Duration pause) {
    asio::co_spawn(sim.loop(), receive(), [this](std::exception_ptr thrown) {
      if (thrown) why = failure_of(thrown, Errc::internal).code;
      channels.first->close();
      has_ended = true;
    });
    asio::co_spawn(sim.loop(), tell(to_json(piece), count, pause), asio::detached);
    REQUIRE(sim.run_until([this] { return has_ended; }));
    return why;
  }
  Task<> receive() { inventory = co_await receive_inventory(*channels.first, sim.clock(), 2min); }
  Task<> tell(std::string piece, std::size_t count, Duration pause) {
    const Message listing = Listing{piece};
    for (std::size_t i = 0; i < count && !has_ended; ++i) {
      co_await sim.clock().sleep_for(pause);
      try {
        co_await channels.second->send(listing);
      } catch (const Error&) {
        co_return;
      }
    }
  }

  SimLoop sim;
  MemoryChannelPair channels = make_memory_channels(sim.loop().get_executor(), sim.clock());
  Inventory inventory;
  std::optional<Errc> why;
  bool has_ended = false;
};

}  // namespace

TEST_CASE("an inventory arrives as it was sent", "[migrate][inventory]") {
  Inventory inventory = with(1);
  inventory.entries.push_back({"plain", Failure{Errc::rootfs_not_on_device, "it is a plain directory"}});
  inventory.has_more = true;
  const Inventory arrived = inventory_from_json(to_json(inventory));
  CHECK(to_json(arrived) == to_json(inventory));
  REQUIRE(arrived.entries.size() == 2);
  CHECK_FALSE(arrived.entries[0].obstacle);
  CHECK(arrived.entries[1].obstacle->code == Errc::rootfs_not_on_device);
  CHECK(arrived.entries[1].obstacle->sentence == "it is a plain directory");
  CHECK(arrived.hidden == 7);
  CHECK(arrived.has_more);
  CHECK(inventory_request_from_json(to_json(InventoryRequest{true})).is_dry_run);
}

TEST_CASE("an inventory that makes no sense is refused", "[migrate][inventory]") {
  CHECK(refusal("{}") == Errc::protocol_violation);
  CHECK(refusal("[]") == Errc::protocol_violation);
  CHECK(refusal(R"({"containers":{},"hidden":-1,"has_more":false})") == Errc::protocol_violation);
  CHECK(refusal(R"({"containers":[7],"hidden":0,"has_more":false})") == Errc::protocol_violation);
  CHECK(refusal(R"({"containers":null,"hidden":0,"has_more":false})") == Errc::protocol_violation);
  CHECK(refusal(R"({"containers":[],"hidden":0,"has_more":false})") == std::nullopt);
  CHECK(refusal(with_one(R"({"container":"a","obstacle":0,"reason":""})")) == std::nullopt);
  CHECK(refusal(with_one(R"({"container":"a","obstacle":999,"reason":""})")) == Errc::protocol_violation);
  CHECK(refusal(with_one(R"({"container":"../a","obstacle":0,"reason":""})")) == Errc::protocol_violation);
}

TEST_CASE("names and reasons in an inventory have bounds, also of what cannot be moved", "[migrate][inventory]") {
  const auto entry = [](const std::string& name, const std::string& reason) {
    return with_one(R"({"container":")" + name + R"(","obstacle":1,"reason":")" + reason + R"("})");
  };
  CHECK(refusal(entry("a b", "it is no name")) == std::nullopt);
  CHECK(refusal(entry(std::string(255, 'a'), std::string(4096, 'r'))) == std::nullopt);
  CHECK(refusal(entry(std::string(256, 'a'), "")) == Errc::protocol_violation);
  CHECK(refusal(entry("", "")) == Errc::protocol_violation);
  CHECK(refusal(entry(R"(\u001b[2J)", "")) == Errc::protocol_violation);
  CHECK(refusal(entry("a", std::string(4097, 'r'))) == Errc::protocol_violation);
}

TEST_CASE("a piece of an inventory has at most 32 containers, and goes on only after one", "[migrate][inventory]") {
  CHECK(refusal(to_json(with(32))) == std::nullopt);
  CHECK(refusal(to_json(with(33))) == Errc::protocol_violation);
  Inventory nothing{.has_more = true};
  CHECK(refusal(to_json(nothing)) == Errc::protocol_violation);
}

TEST_CASE("an inventory that does not end is given up by number", "[migrate][inventory]") {
  Inventory piece = with(32);
  piece.has_more = true;
  Listener endless;
  CHECK(endless.refusal_of(piece, 1000, 1ms) == Errc::protocol_violation);
  piece.has_more = false;
  Listener one;
  CHECK(one.refusal_of(piece, 1, 1ms) == std::nullopt);
  CHECK(one.inventory.entries.size() == 32);
}

TEST_CASE("an inventory that does not end is given up in time", "[migrate][inventory]") {
  Inventory piece = with(1);
  piece.has_more = true;
  Listener slow;
  const TimePoint begin = slow.sim.clock().now();
  CHECK(slow.refusal_of(piece, 1000, 59s) == Errc::timed_out);
  CHECK(slow.sim.clock().now() - begin <= 2min);
}

TEST_CASE("however many containers there are, each piece fits into a message", "[migrate][inventory]") {
  CHECK(in_pieces(with(0)).size() == 1);
  CHECK_FALSE(in_pieces(with(0))[0].has_more);
  Inventory inventory = with(1000);
  const std::string worst(500, '\x01');   // six characters each
  for (auto& entry : inventory.entries) {
    entry.container.resize(255, '\x02');
    entry.obstacle = Failure{Errc::internal, worst};
  }
  const auto pieces = in_pieces(inventory);
  std::size_t entries = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    CHECK(to_json(pieces[i]).size() <= kJsonBytesMax);
    CHECK(pieces[i].has_more == (i + 1 < pieces.size()));
    CHECK(pieces[i].hidden == 7);
    entries += pieces[i].entries.size();
  }
  CHECK(entries == 1000);
}

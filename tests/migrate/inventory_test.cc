// SPDX-License-Identifier: GPL-2.0-or-later
// What an agent tells of the containers that run on its host.
#include "migrate/inventory.h"

#include "tests/catch.h"
#include "transport/message.h"

using namespace vmigrate;

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
  const auto one = [](const std::string& entry) {
    return R"({"containers":[)" + entry + R"(],"hidden":0,"has_more":false})";
  };
  CHECK(refusal(one(R"({"container":"a","obstacle":0,"reason":""})")) == std::nullopt);
  CHECK(refusal(one(R"({"container":"a","obstacle":999,"reason":""})")) == Errc::protocol_violation);
  CHECK(refusal(one(R"({"container":"../a","obstacle":0,"reason":""})")) == Errc::protocol_violation);
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

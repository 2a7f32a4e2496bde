// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/inventory_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoint/container_runtime.h"
#include "migrate/report.h"
#include "transport/message.h"

namespace vmigrate {
namespace {

using nlohmann::json;

// JSON may write six characters for one byte: a piece stays far below kJsonBytesMax.
static_assert(kEntriesInPiece * 6 * (kNameBytesMax + kObstacleSentenceMax + 50) < kJsonBytesMax);

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

json encode(const InventoryEntry& entry) {
  const Failure obstacle = entry.obstacle.value_or(Failure{Errc{}, ""});
  return {{"container", entry.container},
          {"obstacle", static_cast<unsigned>(obstacle.code)},
          {"reason", obstacle.sentence}};
}

std::uint64_t count_in(const json& in, const char* key, std::uint64_t max) {
  const json& field = in.at(key);
  if (!field.is_number_unsigned() || field.get<std::uint64_t>() > max)
    throw Error(Errc::protocol_violation, std::string("the field ") + key + " is not a number within its bounds");
  return field.get<std::uint64_t>();
}

void require(bool holds, const char* sentence) {
  if (!holds) throw Error(Errc::protocol_violation, std::string("the inventory from the peer ") + sentence);
}

/// A name that is wrong is the peer's mistake here, not the operator's. What cannot be moved may be called anything
/// that can be shown.
void check_name(const std::string& container, bool is_movable) {
  require(!container.empty() && container.size() <= kNameBytesMax && std::ranges::none_of(container, is_control),
          "has a name that is too long or not printable");
  if (!is_movable) return;
  try {
    check_container_id(container);
  } catch (const Error&) {
    require(false, "has a name that no container can have");
  }
}

InventoryEntry decode_entry(const json& in) {
  InventoryEntry entry{.container = in.at("container")};
  const auto code = static_cast<Errc>(count_in(in, "obstacle", static_cast<std::uint64_t>(kErrcLast)));
  const std::string reason = in.at("reason");
  require(reason.size() <= kSentenceBytesMax, "has a reason that is too long");
  require(code != Errc{} || reason.empty(), "has a reason for an obstacle that is not there");
  if (code != Errc{}) entry.obstacle = Failure{code, reason};
  check_name(entry.container, !entry.obstacle);
  return entry;
}

template <typename Decode>
auto parse(const std::string& text, const std::string& what, Decode decode) {
  try {
    return decode(object_from_text(text, "the peer"));
  } catch (const json::exception& error) {
    throw Error(Errc::protocol_violation, what + " from the peer is not understood: " + error.what());
  }
}

}  // namespace

std::string to_json(const Inventory& inventory) {
  json entries = json::array();
  for (const auto& entry : inventory.entries) entries.push_back(encode(entry));
  return to_text({{"containers", std::move(entries)}, {"hidden", inventory.hidden}, {"has_more", inventory.has_more}});
}

Inventory inventory_from_json(const std::string& text) {
  return parse(text, "the inventory", [](const json& in) {
    Inventory inventory{.hidden = count_in(in, "hidden", UINT32_MAX), .has_more = in.at("has_more")};
    const json& entries = in.at("containers");
    require(entries.is_array(), "has no list of containers");
    require(entries.size() <= kEntriesInPiece, "has too many containers in one piece");
    require(!entries.empty() || !inventory.has_more, "goes on after a piece with nothing in it");
    for (const json& entry : entries) inventory.entries.push_back(decode_entry(entry));
    return inventory;
  });
}

std::string to_json(const InventoryRequest& request) { return json{{"dry_run", request.is_dry_run}}.dump(); }

InventoryRequest inventory_request_from_json(const std::string& text) {
  return parse(text, "the request", [](const json& in) { return InventoryRequest{in.at("dry_run")}; });
}

std::vector<Inventory> in_pieces(const Inventory& inventory) {
  std::vector<Inventory> pieces;
  std::size_t at = 0;
  do {
    const std::size_t count = std::min(kEntriesInPiece, inventory.entries.size() - at);
    const auto first = inventory.entries.begin() + static_cast<std::ptrdiff_t>(at);
    at += count;
    pieces.push_back({{first, first + static_cast<std::ptrdiff_t>(count)}, inventory.hidden,
                      at < inventory.entries.size()});
  } while (at < inventory.entries.size());
  return pieces;
}

void append(Inventory& all, Inventory&& piece) {
  require(all.entries.size() + piece.entries.size() <= kEntriesMax, "lists more containers than a host can have");
  std::ranges::move(piece.entries, std::back_inserter(all.entries));
  all.hidden = piece.hidden;
  all.has_more = piece.has_more;
}

}  // namespace vmigrate

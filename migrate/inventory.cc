// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/inventory.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoint/container_config.h"
#include "engine/mounted_device.h"
#include "migrate/host_facts.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

using nlohmann::json;

// JSON may write six characters for one byte: a piece stays far below kJsonBytesMax.
constexpr std::size_t kSentenceMax = 500;
static_assert(kEntriesInPiece * 6 * (kNameBytesMax + kSentenceMax + 50) < kJsonBytesMax);

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

/// A directory of a runtime may be called anything.
std::string printable(std::string name) {
  std::ranges::replace_if(name, [](char c) { return c < ' ' || c > '~'; }, '?');
  return name;
}

/// Throws Error with the reason why it cannot be moved.
void check_movable(const ContainerInfo& container) {
  if (container.status == ContainerStatus::paused)
    throw Error(Errc::container_not_running,
                "container " + container.id + " on " + host_name() + " is paused; resume it first");
  find_mounted_device(container.rootfs);
  check_config(read_config(container.bundle));
}

/// Nothing if it does not run.
Task<std::optional<InventoryEntry>> entry_of(LocalHost host, std::string id) {
  InventoryEntry entry{.container = printable(id)};
  std::exception_ptr thrown;
  try {
    const ContainerInfo container = co_await host.runtime.inspect(id);
    if (container.status != ContainerStatus::running && container.status != ContainerStatus::paused)
      co_return std::nullopt;
    const auto work = [&container] { check_movable(container); };
    co_await offload(host.pool, work);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (!thrown) co_return entry;
  entry.obstacle = failure_of(thrown, Errc::internal);
  if (entry.obstacle->code == Errc::unknown_container) co_return std::nullopt;   // it ended just now
  entry.obstacle->sentence = entry.obstacle->sentence.substr(0, kSentenceMax);
  co_return entry;
}

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

void append(Inventory& all, Inventory&& piece) {
  require(all.entries.size() + piece.entries.size() <= kEntriesMax, "lists more containers than a host can have");
  std::ranges::move(piece.entries, std::back_inserter(all.entries));
  all.hidden = piece.hidden;
  all.has_more = piece.has_more;
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

Task<Inventory> take_inventory(LocalHost host, std::function<bool(const std::string&)> is_shown,
                               const Cancellation& cancellation) {
  std::vector<std::string> ids = co_await host.runtime.list();
  std::ranges::sort(ids);
  Inventory inventory;
  for (const auto& id : ids) {
    if (cancellation.is_requested()) throw Error(Errc::cancelled, "the list of containers was cancelled");
    auto entry = co_await entry_of(host, id);
    if (!entry) continue;
    if (is_shown(id)) inventory.entries.push_back(std::move(*entry));
    else ++inventory.hidden;
  }
  co_return inventory;
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

Task<Inventory> receive_inventory(Channel& channel, Clock& clock, Duration patience) {
  const TimePoint deadline = clock.now() + patience;
  Inventory all{.has_more = true};
  while (all.has_more) {
    const Duration left = deadline - clock.now();
    if (left <= Duration::zero())
      throw Error(Errc::timed_out, channel.peer_name() + " did not come to the end of its list of containers in time");
    channel.set_idle_timeout(left);
    const Listing listing = co_await expect<Listing>(channel);
    append(all, inventory_from_json(listing.json));
  }
  co_return all;
}

}  // namespace vmigrate

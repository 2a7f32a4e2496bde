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

// A name has at most 255 bytes, and JSON may write six characters for one: the pieces stay far below kJsonBytesMax.
constexpr std::size_t kEntriesInPiece = 32;
constexpr std::size_t kSentenceMax = 500;

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
  InventoryEntry entry{.container = id};
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

/// A name that is wrong is the peer's mistake here, not the operator's.
void check_name(const std::string& container) {
  try {
    check_container_id(container);
  } catch (const Error&) {
    throw Error(Errc::protocol_violation, "the inventory from the peer has a name that no container can have");
  }
}

InventoryEntry decode_entry(const json& in) {
  InventoryEntry entry{.container = in.at("container")};
  const auto code = static_cast<Errc>(count_in(in, "obstacle", static_cast<std::uint64_t>(kErrcLast)));
  const std::string reason = in.at("reason");
  if (code != Errc{}) entry.obstacle = Failure{code, reason};
  else check_name(entry.container);
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
    for (const json& entry : in.at("containers")) inventory.entries.push_back(decode_entry(entry));
    return inventory;
  });
}

std::string to_json(const InventoryRequest& request) { return json{{"dry_run", request.is_dry_run}}.dump(); }

InventoryRequest inventory_request_from_json(const std::string& text) {
  return parse(text, "the request", [](const json& in) { return InventoryRequest{in.at("dry_run")}; });
}

Task<Inventory> take_inventory(LocalHost host, std::function<bool(const std::string&)> is_shown) {
  std::vector<std::string> ids = co_await host.runtime.list();
  std::ranges::sort(ids);
  Inventory inventory;
  for (const auto& id : ids) {
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

}  // namespace vmigrate

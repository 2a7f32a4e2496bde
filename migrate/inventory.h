// SPDX-License-Identifier: GPL-2.0-or-later
// Which containers run on a host, and which of them cannot leave it: what `vmigrate --all` begins with.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "migrate/failure.h"
#include "migrate/local_departure.h"

namespace vmigrate {

struct InventoryEntry {
  std::string container;
  std::optional<Failure> obstacle = {};   ///< why it cannot be moved as it is
};

/// In a Listing. A host with many containers needs several.
struct Inventory {
  std::vector<InventoryEntry> entries = {};   ///< by name
  std::uint64_t hidden = 0;                   ///< how many more run there that the host's rules do not let us move
  bool has_more = false;                      ///< another one follows
};

/// An operator's question, in List.
struct InventoryRequest {
  bool is_dry_run = false;   ///< what may only be looked at is listed as well
};

/// Parsing throws Error(Errc::protocol_violation).
std::string to_json(const Inventory& inventory);
std::string to_json(const InventoryRequest& request);
Inventory inventory_from_json(const std::string& text);
InventoryRequest inventory_request_from_json(const std::string& text);

/// Every container that runs or is paused here and that `is_shown`. Changes nothing. Looks only at what is quickly
/// seen; the rest is for the migration's own preflight. Throws Error(Errc::criu_missing) where there is no runtime.
Task<Inventory> take_inventory(LocalHost host, std::function<bool(const std::string&)> is_shown);
/// The same in pieces that fit into a message each; at least one.
std::vector<Inventory> in_pieces(const Inventory& inventory);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// Which containers run on a host, and which of them cannot leave it: what `vmigrate --all` begins with.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "migrate/cancellation.h"
#include "migrate/failure.h"
#include "migrate/local_departure.h"
#include "transport/channel.h"

namespace vmigrate {

inline constexpr std::size_t kEntriesInPiece = 32;    ///< of one Listing
inline constexpr std::size_t kEntriesMax = 10'000;    ///< of all Listings together

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
/// seen; the rest is for the migration's own preflight. Throws Error: criu_missing where there is no runtime, cancelled
/// between two containers.
Task<Inventory> take_inventory(LocalHost host, std::function<bool(const std::string&)> is_shown,
                               const Cancellation& cancellation);
/// The same in pieces that fit into a message each; at least one.
std::vector<Inventory> in_pieces(const Inventory& inventory);
/// The pieces that follow a List, joined. Throws Error: protocol_violation also for too many of them, timed_out unless
/// all of them come within `patience`.
Task<Inventory> receive_inventory(Channel& channel, Clock& clock, Duration patience);

}  // namespace vmigrate

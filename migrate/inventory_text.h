// SPDX-License-Identifier: GPL-2.0-or-later
// The JSON documents inside List and Listing. docs/protocol.md describes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "migrate/failure.h"

namespace vmigrate {

inline constexpr std::size_t kEntriesInPiece = 32;    ///< of one Listing
inline constexpr std::size_t kObstacleSentenceMax = 500;
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

/// The same in pieces that fit into a message each; at least one.
std::vector<Inventory> in_pieces(const Inventory& inventory);
/// Another piece behind the earlier ones. Throws Error(Errc::protocol_violation) for too many of them.
void append(Inventory& all, Inventory&& piece);

}  // namespace vmigrate

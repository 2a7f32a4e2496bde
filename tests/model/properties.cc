// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/model/properties.h"

#include <algorithm>

namespace vmigrate::model {
namespace {

bool runs(const Host& host) { return host.tree == Tree::running; }

bool anybody(const World& world, bool (*is_so)(const Host&)) {
  return std::any_of(world.hosts.begin(), world.hosts.end(), is_so);
}

bool source_runs_again(const World& world) {
  int last_given_away_by[kHosts] = {-1, -1};
  int last_owned_by[kHosts] = {-1, -1};
  for (int k = 0; k < world.attempts_started; ++k)
    if (world.attempts[k].has_destination_run) {
      last_given_away_by[world.attempts[k].source] = k;
      last_owned_by[world.attempts[k].destination()] = k;
    }
  for (int host = 0; host < kHosts; ++host)
    if (runs(world.hosts[host]) && last_given_away_by[host] > last_owned_by[host]) return true;
  return false;
}

/// A record that may be missing from the disk counts as the one that permits less.
bool is_permitted(const World& world, int host) {
  for (int k = world.attempts_started - 1; k >= 0; --k) {
    std::uint8_t record = world.record(host, k);
    if (record == kNoRecord) continue;
    const bool is_certain = world.is_recorded(host, k, static_cast<RecordType>(record));
    if (!is_certain && predecessor(record) != kNoRecord) record = predecessor(record);
    const auto type = static_cast<RecordType>(record);
    if (type == RecordType::given)
      return world.is_recorded(world.attempts[k].destination(), k, RecordType::refused);
    return type == RecordType::reclaimed || type == RecordType::owned;
  }
  return host == kFirstOwner;
}

bool runs_unrecorded(const World& world) {
  for (int host = 0; host < kHosts; ++host)
    if (runs(world.hosts[host]) && !is_permitted(world, host)) return true;
  return false;
}

bool is_tidy(const Host& host) {
  const bool has_come_to_nothing = host.is(DestinationState::refused) || host.is(DestinationState::discarded);
  return host.tree != Tree::held && !(has_come_to_nothing && (host.tree != Tree::none || host.image != Image::none));
}

}  // namespace

std::optional<Violation> violation_in(const World& world) {
  if (std::all_of(world.hosts.begin(), world.hosts.end(), runs)) return Violation::two_run;
  if (anybody(world, [](const Host& host) { return runs(host) && host.image != Image::current; }))
    return Violation::stale_copy_runs;
  if (source_runs_again(world)) return Violation::source_runs_again;
  if (!anybody(world, [](const Host& host) { return host.image == Image::current; })) return Violation::no_copy_left;
  if (runs_unrecorded(world)) return Violation::runs_unrecorded;
  if (world.is_lawless) return Violation::no_such_row;
  return std::nullopt;
}

bool is_settled(const World& world) {
  const auto count = std::count_if(world.hosts.begin(), world.hosts.end(), runs);
  return count == 1 && std::all_of(world.hosts.begin(), world.hosts.end(),
                                   [](const Host& host) { return !host.is_live() && is_tidy(host); });
}

std::string_view name_of(Violation violation) noexcept {
  constexpr std::array<std::string_view, kViolations> names = {
      "two run",
      "a stale copy runs: an acknowledged write is lost",
      "the source runs after the destination ran",
      "no copy of the latest generation is left",
      "one runs without a record that permits it",
      "a session met an event that its table does not have",
      "it cannot come to an end any more"};
  return names[static_cast<std::size_t>(violation)];
}

}  // namespace vmigrate::model

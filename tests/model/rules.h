// SPDX-License-Identifier: GPL-2.0-or-later
// What may happen next in a world. Sessions move by rows of a transition table only; the rest of the rules is when a
// record is written, when a message is sent, and what a crash leaves.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "tests/model/world.h"

namespace vmigrate::model {

using SourceTable = std::remove_const_t<decltype(kSourceTransitions)>;
using DestinationTable = std::remove_const_t<decltype(kDestinationTransitions)>;

/// How far the record GIVEN must be before GO may be sent.
enum class GivenBeforeGo { durable, written, not_at_all };

/// What an operator may do about a peer that stays silent.
enum class Operator {
  absent,
  careful,            ///< fences the peer, or stops its agent, and reads its journal before acting
  blind_take_back,    ///< fences the peer, but does not read its journal
  unfenced_take_back,
  blind_accept,       ///< fences the source, but does not read its journal
};

/// The row of a table for `event` in `from`, to make it a wrong one. It must be there.
template <typename Table, typename State, typename Event>
auto& row_in(Table& table, State from, Event event) {
  const auto row = std::find_if(table.begin(), table.end(),
                                [&](const auto& one) { return one.from == from && one.event == event; });
  MIGRATE_ASSERT(row != table.end());
  return *row;
}

/// The product's rules, unless a variant says otherwise.
struct Rules {
  SourceTable source = kSourceTransitions;
  DestinationTable destination = kDestinationTransitions;
  RecordType recorded_when_restored = RecordType::prepared;
  GivenBeforeGo before_go = GivenBeforeGo::durable;
  bool records_refusals = true;
  /// An agent that starts writes the newest record that it reads anew, and syncs it, before it acts on it.
  bool makes_durable_what_it_reads = true;
  Operator operator_is = Operator::absent;
  /// An agent that was stopped heeds only what arrives on connections that were made since.
  bool forgets_old_connections = true;
  /// While it is being taken back, the record GIVEN is no answer any more.
  bool keeps_go_while_reclaiming = true;
  /// What is taken back runs only once RECLAIMED is durable: no refusal stands behind it.
  bool waits_for_reclaimed = true;
  int attempts = kAttemptsMax;
};

enum class Kind : std::uint8_t {
  assured,   ///< comes about by itself as long as nothing fails
  lucky,     ///< a message arrives that is not repeated, or whose sender would not say it any more
  choice,    ///< somebody may decide so, or never
  fault,     ///< a crash, a failed write, whatever else goes wrong on a host
};

/// One thing that happens: "1: beta receives Go". `attempt` is -1 for what concerns the whole host.
struct Step {
  int host = 0;
  int attempt = -1;
  std::string_view verb;
  std::string_view object;
  Kind kind = Kind::assured;
};
std::string text_of(const Step& step);

struct Successor {
  Step step;
  World world;
};

/// Which rows of the tables were walked.
struct Coverage {
  std::array<bool, std::tuple_size_v<SourceTable>> source{};
  std::array<bool, std::tuple_size_v<DestinationTable>> destination{};

  /// "reclaiming + failed", one for each row that was not.
  std::vector<std::string> unused(const Rules& rules) const;
};

/// Everything that can happen in `world`, into `successors`, which is emptied first.
void successors_of(const World& world, const Rules& rules, Coverage& coverage, std::vector<Successor>& successors);

}  // namespace vmigrate::model

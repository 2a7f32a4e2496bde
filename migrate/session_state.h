// SPDX-License-Identifier: GPL-2.0-or-later
// States, events and the two transition tables. docs/states.md shows the same tables; a test compares them.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "migrate/journal.h"

namespace vmigrate {

// --- source -------------------------------------------------------------------------------------------------------

enum class SourceState {
  connecting,       ///< offering the container; nothing was touched
  copying,          ///< rounds while it runs
  freezing,         ///< links down, cgroup frozen, dump
  handing_over,     ///< last blocks and checkpoint on their way; still ours
  committing,       ///< GIVEN is recorded: we must not run it again by ourselves
  in_doubt,         ///< given, and the destination does not answer: we ask until it does
  retracting,       ///< GIVEN may or may not be on the disk; GO was not sent, and the destination is asked to refuse
  releasing,        ///< RELEASED is recorded: our copy is being destroyed
  reclaiming,       ///< RECLAIMED is recorded: it is ours again
  done,             ///< it runs on the destination
  cleanup_pending,  ///< it runs on the destination; something of our copy could not be removed
  aborted,          ///< it runs here as if nothing had been
};

enum class SourceEvent {
  accepted,
  converged,
  dumped,
  ready,
  unrecorded,   ///< writing GIVEN failed, and nobody knows what is on the disk
  running,
  refused,
  released,
  reclaimed,
  failed,
  lost_peer
};

struct SourceTransition {
  SourceState from;
  SourceEvent event;
  SourceState to;
};

inline constexpr std::array kSourceTransitions = {
    SourceTransition{SourceState::connecting, SourceEvent::accepted, SourceState::copying},
    SourceTransition{SourceState::connecting, SourceEvent::failed, SourceState::aborted},
    SourceTransition{SourceState::connecting, SourceEvent::lost_peer, SourceState::aborted},
    SourceTransition{SourceState::copying, SourceEvent::converged, SourceState::freezing},
    SourceTransition{SourceState::copying, SourceEvent::failed, SourceState::aborted},
    SourceTransition{SourceState::copying, SourceEvent::lost_peer, SourceState::aborted},
    SourceTransition{SourceState::freezing, SourceEvent::dumped, SourceState::handing_over},
    SourceTransition{SourceState::freezing, SourceEvent::failed, SourceState::aborted},
    SourceTransition{SourceState::freezing, SourceEvent::lost_peer, SourceState::aborted},
    SourceTransition{SourceState::handing_over, SourceEvent::ready, SourceState::committing},
    SourceTransition{SourceState::handing_over, SourceEvent::failed, SourceState::aborted},
    SourceTransition{SourceState::handing_over, SourceEvent::lost_peer, SourceState::aborted},
    SourceTransition{SourceState::committing, SourceEvent::running, SourceState::releasing},
    SourceTransition{SourceState::committing, SourceEvent::refused, SourceState::reclaiming},
    SourceTransition{SourceState::committing, SourceEvent::failed, SourceState::in_doubt},
    SourceTransition{SourceState::committing, SourceEvent::lost_peer, SourceState::in_doubt},
    SourceTransition{SourceState::committing, SourceEvent::unrecorded, SourceState::retracting},
    SourceTransition{SourceState::retracting, SourceEvent::refused, SourceState::reclaiming},
    SourceTransition{SourceState::retracting, SourceEvent::lost_peer, SourceState::retracting},
    SourceTransition{SourceState::in_doubt, SourceEvent::running, SourceState::releasing},
    SourceTransition{SourceState::in_doubt, SourceEvent::refused, SourceState::reclaiming},
    SourceTransition{SourceState::in_doubt, SourceEvent::lost_peer, SourceState::in_doubt},
    SourceTransition{SourceState::releasing, SourceEvent::released, SourceState::done},
    SourceTransition{SourceState::releasing, SourceEvent::failed, SourceState::cleanup_pending},
    SourceTransition{SourceState::releasing, SourceEvent::lost_peer, SourceState::done},
    SourceTransition{SourceState::reclaiming, SourceEvent::reclaimed, SourceState::aborted},
    SourceTransition{SourceState::reclaiming, SourceEvent::failed, SourceState::in_doubt},
    SourceTransition{SourceState::reclaiming, SourceEvent::lost_peer, SourceState::aborted},
};

// --- destination --------------------------------------------------------------------------------------------------

enum class DestinationState {
  checking,    ///< the offer is being judged; nothing was made
  receiving,   ///< blocks and checkpoint files arrive
  restoring,   ///< everything is verified; CRIU brings the processes back, held
  prepared,    ///< PREPARED is recorded: held, waiting for GO
  owning,      ///< OWNED is recorded: it is ours and about to run
  done,        ///< it runs here
  refused,     ///< REFUSED is recorded: this attempt will never run here
  discarded,   ///< nothing of it is left here
};

enum class DestinationEvent { accepted, verified, restored, go, resumed, dismissed, failed, lost_peer };

struct DestinationTransition {
  DestinationState from;
  DestinationEvent event;
  DestinationState to;
};

inline constexpr std::array kDestinationTransitions = {
    DestinationTransition{DestinationState::checking, DestinationEvent::accepted, DestinationState::receiving},
    DestinationTransition{DestinationState::checking, DestinationEvent::failed, DestinationState::discarded},
    DestinationTransition{DestinationState::checking, DestinationEvent::lost_peer, DestinationState::discarded},
    DestinationTransition{DestinationState::receiving, DestinationEvent::verified, DestinationState::restoring},
    DestinationTransition{DestinationState::receiving, DestinationEvent::dismissed, DestinationState::discarded},
    DestinationTransition{DestinationState::receiving, DestinationEvent::failed, DestinationState::discarded},
    DestinationTransition{DestinationState::receiving, DestinationEvent::lost_peer, DestinationState::discarded},
    DestinationTransition{DestinationState::restoring, DestinationEvent::restored, DestinationState::prepared},
    DestinationTransition{DestinationState::restoring, DestinationEvent::failed, DestinationState::discarded},
    DestinationTransition{DestinationState::restoring, DestinationEvent::lost_peer, DestinationState::discarded},
    DestinationTransition{DestinationState::prepared, DestinationEvent::go, DestinationState::owning},
    DestinationTransition{DestinationState::prepared, DestinationEvent::failed, DestinationState::refused},
    DestinationTransition{DestinationState::prepared, DestinationEvent::lost_peer, DestinationState::prepared},
    DestinationTransition{DestinationState::prepared, DestinationEvent::dismissed, DestinationState::refused},
    DestinationTransition{DestinationState::owning, DestinationEvent::resumed, DestinationState::done},
    DestinationTransition{DestinationState::owning, DestinationEvent::failed, DestinationState::owning},
    DestinationTransition{DestinationState::owning, DestinationEvent::lost_peer, DestinationState::owning},
};

// --- reading the tables -------------------------------------------------------------------------------------------

constexpr bool is_terminal(SourceState state) {
  return state == SourceState::done || state == SourceState::cleanup_pending || state == SourceState::aborted;
}
constexpr bool is_terminal(DestinationState state) {
  return state == DestinationState::done || state == DestinationState::refused || state == DestinationState::discarded;
}
/// From here on the source never runs the container by its own decision.
constexpr bool is_given(SourceState state) {
  return state == SourceState::committing || state == SourceState::in_doubt || state == SourceState::retracting ||
         state == SourceState::releasing || state == SourceState::done || state == SourceState::cleanup_pending;
}

/// Where an agent finds itself that died and came back: what its newest record about the migration says, and nothing
/// else. Without a record it never happened (presumed abort).
constexpr SourceState source_after_crash(std::optional<RecordType> newest) {
  if (newest == RecordType::given) return SourceState::in_doubt;
  if (newest == RecordType::released) return SourceState::releasing;
  if (newest == RecordType::reclaimed) return SourceState::reclaiming;
  return SourceState::aborted;
}
constexpr DestinationState destination_after_crash(std::optional<RecordType> newest) {
  if (newest == RecordType::prepared) return DestinationState::prepared;
  if (newest == RecordType::owned) return DestinationState::owning;
  if (newest == RecordType::refused) return DestinationState::refused;
  return DestinationState::discarded;
}

template <typename Table, typename State, typename Event>
constexpr std::optional<State> next_in(const Table& table, State from, Event event) {
  for (const auto& row : table)
    if (row.from == from && row.event == event) return row.to;
  return std::nullopt;
}
/// Nothing when the table does not allow it, which is a mistake of ours.
constexpr std::optional<SourceState> next(SourceState from, SourceEvent event) {
  return next_in(kSourceTransitions, from, event);
}
constexpr std::optional<DestinationState> next(DestinationState from, DestinationEvent event) {
  return next_in(kDestinationTransitions, from, event);
}

std::string_view name_of(SourceState state) noexcept;
std::string_view name_of(SourceEvent event) noexcept;
std::string_view name_of(DestinationState state) noexcept;
std::string_view name_of(DestinationEvent event) noexcept;

// --- theorems, checked by the compiler ----------------------------------------------------------------------------

template <typename Table>
constexpr bool every_transition_is_unambiguous(const Table& table) {
  for (std::size_t i = 0; i < table.size(); ++i)
    for (std::size_t j = i + 1; j < table.size(); ++j)
      if (table[i].from == table[j].from && table[i].event == table[j].event) return false;
  return true;
}
template <typename Table>
constexpr bool terminal_states_are_terminal(const Table& table) {
  for (const auto& row : table)
    if (is_terminal(row.from)) return false;
  return true;
}
template <typename Table, typename Event>
constexpr bool every_live_state_survives(const Table& table, Event event) {
  for (const auto& row : table)
    if (!next_in(table, row.from, event)) return false;
  return true;
}
/// The only way into a given state from one that is not is READY while handing over.
constexpr bool giving_begins_only_at_ready() {
  for (const auto& row : kSourceTransitions)
    if (!is_given(row.from) && is_given(row.to) &&
        !(row.from == SourceState::handing_over && row.event == SourceEvent::ready) &&
        !(row.from == SourceState::reclaiming && row.to == SourceState::in_doubt))
      return false;
  return true;
}
/// Once given, only the destination's recorded refusal brings the container back.
constexpr bool only_a_refusal_brings_it_back() {
  for (const auto& row : kSourceTransitions)
    if (is_given(row.from) && !is_given(row.to) && row.event != SourceEvent::refused) return false;
  return true;
}
/// The destination comes to own it by GO alone, and never lets go of it again.
constexpr bool owning_begins_only_at_go() {
  for (const auto& row : kDestinationTransitions) {
    const bool owned_before = row.from == DestinationState::owning;
    const bool owned_after = row.to == DestinationState::owning || row.to == DestinationState::done;
    if (!owned_before && owned_after && row.event != DestinationEvent::go) return false;
    if (owned_before && !owned_after) return false;
  }
  return true;
}
/// After PREPARED was sent, the attempt ends only in owning it or in a recorded refusal.
constexpr bool prepared_never_just_vanishes() {
  for (const auto& row : kDestinationTransitions)
    if (row.from == DestinationState::prepared && row.to == DestinationState::discarded) return false;
  return true;
}

static_assert(every_transition_is_unambiguous(kSourceTransitions));
static_assert(every_transition_is_unambiguous(kDestinationTransitions));
static_assert(terminal_states_are_terminal(kSourceTransitions));
static_assert(terminal_states_are_terminal(kDestinationTransitions));
static_assert(every_live_state_survives(kSourceTransitions, SourceEvent::lost_peer));
static_assert(every_live_state_survives(kDestinationTransitions, DestinationEvent::lost_peer));
static_assert(giving_begins_only_at_ready());
static_assert(only_a_refusal_brings_it_back());
static_assert(owning_begins_only_at_go());
static_assert(prepared_never_just_vanishes());

}  // namespace vmigrate

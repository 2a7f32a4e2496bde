// SPDX-License-Identifier: GPL-2.0-or-later
// Theorems about the transition tables that a walk over all paths proves; the header proves others by static_assert.
#include "migrate/session_state.h"

#include <set>

#include "migrate/states_diagram.h"
#include "tests/catch.h"

using namespace vmigrate;

namespace {

template <typename State, typename Table>
std::set<State> reachable_from(State start, const Table& table) {
  std::set<State> seen = {start};
  for (std::size_t before = 0; before != seen.size();) {
    before = seen.size();
    for (const auto& row : table)
      if (seen.contains(row.from)) seen.insert(row.to);
  }
  return seen;
}

template <typename State, typename Table>
std::set<State> states_of(const Table& table) {
  std::set<State> states;
  for (const auto& row : table) states.insert({row.from, row.to});
  return states;
}

template <typename State, typename Table>
void check_an_end_is_reachable(const Table& table) {
  for (const State state : states_of<State>(table)) {
    INFO(name_of(state));
    bool has_end = false;
    for (const State end : reachable_from(state, table)) has_end = has_end || is_terminal(end);
    CHECK(has_end);
  }
}

}  // namespace

TEST_CASE("from every state an end can be reached", "[migrate][states]") {
  check_an_end_is_reachable<SourceState>(kSourceTransitions);
  check_an_end_is_reachable<DestinationState>(kDestinationTransitions);
}

TEST_CASE("every state can be reached from the start", "[migrate][states]") {
  CHECK(reachable_from(SourceState::connecting, kSourceTransitions).size() == 12);
  CHECK(reachable_from(DestinationState::checking, kDestinationTransitions).size() == 8);
}

TEST_CASE("on every path the source comes back from the gift by way of a refusal only", "[migrate][states]") {
  // Without the steps of a refusal, what is given stays given.
  std::vector<SourceTransition> without_refusal;
  for (const auto& row : kSourceTransitions)
    if (row.event != SourceEvent::refused) without_refusal.push_back(row);
  for (const SourceState state : reachable_from(SourceState::committing, without_refusal)) {
    INFO(name_of(state));
    CHECK(is_given(state));
  }
}

TEST_CASE("a failure never leads further towards the other side", "[migrate][states]") {
  for (const auto& row : kSourceTransitions)
    if (row.event == SourceEvent::failed || row.event == SourceEvent::lost_peer)
      CHECK((is_given(row.from) || !is_given(row.to) || row.from == SourceState::reclaiming));
  for (const auto& row : kDestinationTransitions)
    if (row.event == DestinationEvent::failed || row.event == DestinationEvent::lost_peer)
      CHECK((row.from == row.to || row.to == DestinationState::refused || row.to == DestinationState::discarded));
}

TEST_CASE("a step that is not in the table is no step", "[migrate][states]") {
  CHECK_FALSE(next(SourceState::copying, SourceEvent::running).has_value());
  CHECK_FALSE(next(SourceState::done, SourceEvent::failed).has_value());
  CHECK_FALSE(next(DestinationState::receiving, DestinationEvent::go).has_value());
  CHECK(next(SourceState::handing_over, SourceEvent::ready) == SourceState::committing);
}

TEST_CASE("states and events have names of their own", "[migrate][states]") {
  std::set<std::string_view> names;
  for (const SourceState state : states_of<SourceState>(kSourceTransitions)) CHECK(names.insert(name_of(state)).second);
  names.clear();
  for (const DestinationState state : states_of<DestinationState>(kDestinationTransitions))
    CHECK(names.insert(name_of(state)).second);
}

TEST_CASE("the diagram has one arrow for each transition", "[migrate][states]") {
  const std::string diagram = states_diagram();
  std::size_t arrows = 0;
  for (auto at = diagram.find(" --> "); at != std::string::npos; at = diagram.find(" --> ", at + 1)) ++arrows;
  CHECK(arrows == kSourceTransitions.size() + kDestinationTransitions.size());
}

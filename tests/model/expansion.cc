// SPDX-License-Identifier: GPL-2.0-or-later
// The one place where steps are collected, and where a session walks its table.
#include "tests/model/expansion.h"

namespace vmigrate::model {
namespace {

template <typename Table, typename State, typename Event, std::size_t kRows>
std::optional<State> walk(const Table& table, State from, Event event, std::array<bool, kRows>& walked) {
  for (std::size_t row = 0; row < table.size(); ++row)
    if (table[row].from == from && table[row].event == event) walked[row] = true;
  return next_in(table, from, event);
}

}  // namespace

void Expansion::all_steps() {
  if (world_.is_lawless) return;
  for (int number = 0; number < kHosts; ++number) {
    const Host& me = host(number);
    operator_steps(number);
    if (me.is_off) continue;
    start_attempt(number);
    if (me.role == Role::source) source_steps(number);
    if (me.role == Role::destination) destination_steps(number);
    if (me.role == Role::none && number == kFirstOwner && me.tree == Tree::none)
      add({number, -1, "boots"}, [&](World& after) { run(after, number); });
    if (me.tail == Tail::written) journal_steps(number);
    crash_steps(number);
  }
  for (int attempt = 0; attempt < world_.attempts_started; ++attempt) message_steps(attempt);
}

void Expansion::enter(World& after, int number, SourceEvent event) {
  Host& me = after.hosts[number];
  const auto to = walk(rules_.source, me.source(), event, coverage_.source);
  after.is_lawless = !to;
  if (to) me.state = static_cast<std::uint8_t>(*to);
}

void Expansion::enter(World& after, int number, DestinationEvent event) {
  Host& me = after.hosts[number];
  const auto to = walk(rules_.destination, me.destination(), event, coverage_.destination);
  after.is_lawless = !to;
  if (to) me.state = static_cast<std::uint8_t>(*to);
}

void Expansion::run(World& after, int number) {
  Host& me = after.hosts[number];
  me.tree = Tree::running;
  if (me.image != Image::current) return;
  Host& other = after.hosts[1 - number];
  if (other.image == Image::current) other.image = Image::stale;
  for (Attempt& attempt : after.attempts) attempt.is_snapshot_current = false;
}

void successors_of(const World& world, const Rules& rules, Coverage& coverage, std::vector<Successor>& successors) {
  successors.clear();
  Expansion(world, rules, coverage, successors).all_steps();
}

}  // namespace vmigrate::model

// SPDX-License-Identifier: GPL-2.0-or-later
// What the side does that takes the container over.
#include "tests/model/expansion.h"

namespace vmigrate::model {

void Expansion::destination_steps(int number) {
  const Host& me = host(number);
  switch (me.destination()) {
    case DestinationState::checking:
      add_events(number, {DestinationEvent::failed, DestinationEvent::lost_peer});
      return add(step(number, "makes room"), [&](World& after) {
        after.hosts[number].image = Image::stale;
        enter(after, number, DestinationEvent::accepted);
      });
    case DestinationState::receiving:
      return add_events(number, {DestinationEvent::failed, DestinationEvent::lost_peer});
    case DestinationState::restoring:
      if (me.tail == Tail::written) return;
      add_events(number, {DestinationEvent::failed, DestinationEvent::lost_peer});
      return add(step(number, "restores and writes", name_of(rules_.recorded_when_restored)), [&](World& after) {
        after.hosts[number].tree = Tree::held;
        write(after, number, rules_.recorded_when_restored);
      });
    case DestinationState::prepared:
      if (me.knows_its_journal()) decide_prepared(number);
      return;
    case DestinationState::owning:
      add_events(number, {DestinationEvent::failed, DestinationEvent::lost_peer});
      return add(step(number, me.tree == Tree::none ? "boots" : "thaws"), [&](World& after) {
        run(after, number);
        after.attempts[attempt_of(number)].has_destination_run = true;
        enter(after, number, DestinationEvent::resumed);
      });
    case DestinationState::refused:
    case DestinationState::discarded:
      return tidy_up(number);
    case DestinationState::done:
      return;
  }
}

/// It may always refuse by itself, and has to when a crash took the processes.
void Expansion::decide_prepared(int number) {
  const bool has_choice = host(number).tree == Tree::held;
  refuse(number, DestinationEvent::failed,
         has_choice ? choice(number, "refuses by itself") : step(number, "refuses, having lost the processes"));
  if (has_choice) add_events(number, {DestinationEvent::lost_peer});
}

void Expansion::refuse(int number, DestinationEvent event, const Step& step) {
  add(step, [&](World& after) {
    if (rules_.records_refusals)
      write(after, number, RecordType::refused);
    else
      enter(after, number, event);
  });
}

void Expansion::tidy_up(int number) {
  const Host& me = host(number);
  if (me.tree == Tree::none && me.image == Image::none) return;
  add(step(number, "discards its copy"), [&](World& after) {
    after.hosts[number].tree = Tree::none;
    after.hosts[number].image = Image::none;
  });
}

/// All but READY is said from the journal, so that it is also the answer to a question.
bool Expansion::destination_would_send(Message message, int attempt) const {
  const int number = world_.attempts[attempt].destination();
  const Host& me = host(number);
  const bool is_session = world_.has_session(number, attempt);
  switch (message) {
    case Message::accept:
      return is_session && me.is(DestinationState::receiving);
    case Message::ready:
      return is_session && me.is(DestinationState::prepared) && me.knows_its_journal() && me.tree == Tree::held;
    case Message::running:
      return world_.is_recorded(number, attempt, RecordType::owned);
    case Message::refused:
      return world_.is_recorded(number, attempt, RecordType::refused) ||
             (!rules_.records_refusals && is_session && me.is(DestinationState::refused));
    default:
      return false;
  }
}

void Expansion::destination_receives(Message message, int attempt) {
  const int number = world_.attempts[attempt].destination();
  const Host& me = host(number);
  const Step arrival = arrival_of(message, attempt);
  if (message == Message::open && has_room_for(attempt))
    return add(arrival, [&](World& after) {
      after.hosts[number].role = Role::destination;
      after.hosts[number].attempt = static_cast<std::uint8_t>(attempt);
      after.hosts[number].state = static_cast<std::uint8_t>(DestinationState::checking);
    });
  if (!world_.has_session(number, attempt)) return;
  if (message == Message::manifest && me.is(DestinationState::receiving))
    return add(arrival, [&](World& after) {
      if (world_.attempts[attempt].is_snapshot_current) after.hosts[number].image = Image::current;
      enter(after, number, DestinationEvent::verified);
    });
  if (message == Message::abort && me.is(DestinationState::receiving))
    return add(arrival, [&](World& after) { enter(after, number, DestinationEvent::dismissed); });
  if (!me.is(DestinationState::prepared) || !me.knows_its_journal()) return;
  if (message == Message::abort) return refuse(number, DestinationEvent::dismissed, arrival);
  if (message == Message::go && me.tree == Tree::held)
    add(arrival, [&](World& after) { write(after, number, RecordType::owned); });
}

/// One session at a time, no attempt older than one it has seen, none that its journal knows already.
bool Expansion::has_room_for(int attempt) const {
  const int number = world_.attempts[attempt].destination();
  const Host& me = host(number);
  const bool is_over = me.role == Role::none || (me.attempt < attempt && !me.is_live()) ||
                       (me.attempt == attempt && me.is(DestinationState::discarded));
  return is_over && me.knows_its_journal() && me.tree == Tree::none && me.image == Image::none &&
         world_.record(number, attempt) == kNoRecord;
}

}  // namespace vmigrate::model

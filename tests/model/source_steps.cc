// SPDX-License-Identifier: GPL-2.0-or-later
// What the side does that gives the container away.
#include "tests/model/expansion.h"

namespace vmigrate::model {

/// Whoever runs it may try to move it, once everything before has ended here.
void Expansion::start_attempt(int number) {
  const Host& me = host(number);
  const int attempt = world_.attempts_started;
  if (attempt >= rules_.attempts || me.tree != Tree::running || me.is_live() || !me.knows_its_journal()) return;
  add({number, attempt, "starts an attempt", {}, Kind::choice}, [&](World& after) {
    ++after.attempts_started;
    after.attempts[attempt].source = static_cast<std::uint8_t>(number);
    after.hosts[number].role = Role::source;
    after.hosts[number].attempt = static_cast<std::uint8_t>(attempt);
    after.hosts[number].state = static_cast<std::uint8_t>(SourceState::connecting);
  });
}

void Expansion::source_steps(int number) {
  const Host& me = host(number);
  const int attempt = attempt_of(number);
  const bool has_given = world_.is_recorded(number, attempt, RecordType::given);
  switch (me.source()) {
    case SourceState::connecting:
      return add_events(number, {SourceEvent::failed, SourceEvent::lost_peer});
    case SourceState::copying:
      add_events(number, {SourceEvent::failed, SourceEvent::lost_peer});
      return add(step(number, "freezes"), [&](World& after) {
        after.hosts[number].tree = Tree::frozen;
        enter(after, number, SourceEvent::converged);
      });
    case SourceState::freezing:
      add_events(number, {SourceEvent::failed, SourceEvent::lost_peer});
      return add(step(number, "dumps"), [&](World& after) {
        after.attempts[attempt].is_snapshot_current = me.image == Image::current;
        enter(after, number, SourceEvent::dumped);
      });
    case SourceState::handing_over:
      return add_events(number, {SourceEvent::failed, SourceEvent::lost_peer});
    case SourceState::committing:
      if (rules_.before_go != GivenBeforeGo::not_at_all && world_.record(number, attempt) == kNoRecord)
        add(step(number, "writes", "GIVEN"), [&](World& after) { write(after, number, RecordType::given); });
      if (has_given || rules_.before_go == GivenBeforeGo::not_at_all)
        add_events(number, {SourceEvent::failed, SourceEvent::lost_peer});
      return;
    case SourceState::in_doubt:
    case SourceState::retracting:
      return add_events(number, {SourceEvent::lost_peer});
    case SourceState::releasing:
      return release(number);
    case SourceState::reclaiming:
      return reclaim(number);
    case SourceState::aborted:
      if (me.tree != Tree::running)
        add(step(number, me.tree == Tree::none ? "boots" : "thaws"), [&](World& after) { run(after, number); });
      return;
    case SourceState::done:
    case SourceState::cleanup_pending:
      return;
  }
}

void Expansion::release(int number) {
  const int attempt = attempt_of(number);
  if (world_.is_recorded(number, attempt, RecordType::released)) {
    for (const SourceEvent event : {SourceEvent::released, SourceEvent::lost_peer})
      add(step(number, "destroys its copy:", name_of(event)), [&](World& after) {
        after.hosts[number].tree = Tree::none;
        after.hosts[number].image = Image::none;
        enter(after, number, event);
      });
    add_events(number, {SourceEvent::failed});
  } else if (host(number).knows_its_journal()) {
    add(step(number, "writes", "RELEASED"), [&](World& after) { write(after, number, RecordType::released); });
  } else if (host(number).tail == Tail::unknown) {
    add(step(number, "keeps its copy"), [&](World& after) { enter(after, number, SourceEvent::failed); });
  }
}

/// Without a record only where the destination's refusal is one.
void Expansion::reclaim(int number) {
  const Host& me = host(number);
  const bool may_run = world_.is_recorded(number, attempt_of(number), RecordType::reclaimed) ||
                       (me.tail == Tail::unknown && !me.is_taking_back);
  if (may_run) {
    for (const SourceEvent event : {SourceEvent::reclaimed, SourceEvent::lost_peer})
      add(step(number, me.tree == Tree::none ? "boots:" : "thaws:", name_of(event)), [&](World& after) {
        after.hosts[number].is_taking_back = false;
        run(after, number);
        enter(after, number, event);
      });
    add(fault(number, "cannot thaw"), [&](World& after) {
      after.hosts[number].is_taking_back = false;
      enter(after, number, SourceEvent::failed);
    });
  } else if (me.knows_its_journal()) {
    add(step(number, "writes", "RECLAIMED"), [&](World& after) { write(after, number, RecordType::reclaimed); });
  }
}

bool Expansion::source_would_send(Message message, int attempt) const {
  const int number = world_.attempts[attempt].source;
  const Host& me = host(number);
  const bool is_session = world_.has_session(number, attempt);
  const bool is_giving = is_session && (me.is(SourceState::committing) || me.is(SourceState::in_doubt) ||
                                        (me.is(SourceState::reclaiming) && !rules_.keeps_go_while_reclaiming));
  switch (message) {
    case Message::open:
      return is_session && me.is(SourceState::connecting);
    case Message::manifest:
      return is_session && me.is(SourceState::handing_over);
    case Message::go:
      if (rules_.before_go == GivenBeforeGo::not_at_all) return is_giving;
      return is_giving && (world_.is_recorded(number, attempt, RecordType::given) ||
                           (rules_.before_go == GivenBeforeGo::written && me.tail == Tail::written));
    case Message::abort:  // also the answer to a question about an attempt that came to nothing: presumed abort
      return (is_session && (me.is(SourceState::retracting) || me.is(SourceState::aborted))) ||
             (!is_session && world_.record(number, attempt) == kNoRecord) ||
             world_.is_recorded(number, attempt, RecordType::reclaimed);
    default:
      return false;
  }
}

void Expansion::source_receives(Message message, int attempt) {
  const int number = world_.attempts[attempt].source;
  const Host& me = host(number);
  if (!world_.has_session(number, attempt) || me.role != Role::source) return;
  const bool has_said_go = me.is(SourceState::in_doubt) ||
                           (me.is(SourceState::committing) && source_would_send(Message::go, attempt));
  std::optional<SourceEvent> event;
  if (message == Message::accept && me.is(SourceState::connecting)) event = SourceEvent::accepted;
  if (message == Message::ready && me.is(SourceState::handing_over)) event = SourceEvent::ready;
  if (message == Message::running && (has_said_go || me.is(SourceState::retracting))) event = SourceEvent::running;
  if (message == Message::refused && (has_said_go || me.is(SourceState::retracting))) event = SourceEvent::refused;
  if (!event) return;
  add(arrival_of(message, attempt), [&](World& after) { enter(after, number, *event); });
}

}  // namespace vmigrate::model

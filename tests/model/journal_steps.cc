// SPDX-License-Identifier: GPL-2.0-or-later
// The disks: records reach them or do not, and what is read back after a crash.
#include "tests/model/expansion.h"

#include <utility>

namespace vmigrate::model {
namespace {

/// A session begins again from the disk: what the newest record of its migration says, and nothing else.
void resume(World& after, int number) {
  Host& me = after.hosts[number];
  me.is_taking_back = false;
  if (me.role == Role::none) return;
  const auto newest = as_type(after.record(number, me.attempt));
  me.state = me.role == Role::source ? static_cast<std::uint8_t>(source_after_crash(newest))
                                     : static_cast<std::uint8_t>(destination_after_crash(newest));
}

}  // namespace

void Expansion::journal_steps(int number) {
  const auto type = static_cast<RecordType>(world_.record(number, attempt_of(number)));
  after_sync(number);
  add(fault(number, "cannot sync", name_of(type)), [&](World& after) { after_failed_sync(after, number); });
}

void Expansion::after_sync(int number) {
  const Host& me = host(number);
  const auto type = static_cast<RecordType>(world_.record(number, attempt_of(number)));
  std::vector<DestinationEvent> events;
  if (me.is(DestinationState::restoring)) events = {DestinationEvent::restored};
  if (me.is(DestinationState::prepared) && type == RecordType::owned) events = {DestinationEvent::go};
  if (me.is(DestinationState::prepared) && type == RecordType::refused) {
    events = {DestinationEvent::failed};
    if (world_.attempts[attempt_of(number)].was_sent(Message::abort)) events.push_back(DestinationEvent::dismissed);
  }
  const auto sync = [&](World& after) { after.hosts[number].tail = Tail::durable; };
  if (events.empty()) return add(step(number, "syncs", name_of(type)), sync);
  for (const DestinationEvent event : events)
    add(step(number, "syncs", name_of(type)), [&](World& after) {
      sync(after);
      enter(after, number, event);
    });
}

/// OWNED and REFUSED: everything stays held and undecided until the agent starts again.
void Expansion::after_failed_sync(World& after, int number) {
  Host& me = after.hosts[number];
  me.tail = Tail::unknown;
  if (me.role == Role::source) {
    const auto type = static_cast<RecordType>(after.record(number, me.attempt));
    if (type == RecordType::given) enter(after, number, SourceEvent::unrecorded);
    if (type == RecordType::released) enter(after, number, SourceEvent::failed);
    const bool is_taking_back = std::exchange(me.is_taking_back, false);
    if (type == RecordType::reclaimed && is_taking_back && rules_.waits_for_reclaimed)
      enter(after, number, SourceEvent::failed);
  } else if (me.is(DestinationState::restoring)) {
    enter(after, number, DestinationEvent::failed);
  }
}

void Expansion::crash_steps(int number) {
  Step agent = fault(number, "loses its agent");
  if (host(number).tail == Tail::unknown) agent.kind = Kind::assured;   // it is the repair
  const Tail found = rules_.makes_durable_what_it_reads ? Tail::durable : Tail::cached;
  const bool was_durable = host(number).tail == Tail::durable;
  crash(agent, number, was_durable ? Tail::durable : found, false);
  crash(fault(number, "loses power"), number, Tail::durable, true);
}

/// Once for each thing that the disk may say afterwards.
void Expansion::crash(const Step& step, int number, Tail tail_if_found, bool loses_memory) {
  const Host& me = host(number);
  for (const bool is_found : {true, false}) {
    const bool is_certain = me.tail == Tail::durable || (me.tail == Tail::cached && !loses_memory);
    if (is_certain && !is_found) continue;
    Step told = step;
    if (!is_certain) told.object = is_found ? "and finds the record" : "and does not find the record";
    add(told, [&](World& after) {
      Host& crashed = after.hosts[number];
      if (!is_found) {
        std::uint8_t& record = after.record(number, crashed.attempt);
        record = predecessor(record);
      }
      crashed.tail = is_found ? tail_if_found : Tail::durable;
      if (loses_memory) crashed.tree = Tree::none;
      resume(after, number);
    });
  }
}

}  // namespace vmigrate::model

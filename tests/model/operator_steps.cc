// SPDX-License-Identifier: GPL-2.0-or-later
// What a human does about a peer that stays silent.
#include "tests/model/expansion.h"

namespace vmigrate::model {
namespace {

/// What is on its way to a host that is fenced has no connection any more to arrive by.
void cut_off(World& after, int number) {
  for (Attempt& attempt : after.attempts)
    for (int bit = 0; bit < kMessages; ++bit)
      if (is_for_destination(static_cast<Message>(bit)) == (attempt.destination() == number))
        attempt.sent = static_cast<std::uint8_t>(attempt.sent & ~(1 << bit));
}

}  // namespace

void Expansion::operator_steps(int number) {
  if (rules_.operator_is == Operator::absent) return;
  const Host& me = host(number);
  const Host& peer = host(1 - number);
  if (me.is_off)
    return add({number, -1, "is there again"}, [&](World& after) { after.hosts[number].is_off = false; });
  if (!peer.is_off && (peer.is(SourceState::in_doubt) || peer.is(DestinationState::prepared))) {
    fence(number, "is switched off", true);
    if (rules_.operator_is == Operator::careful) fence(number, "has its agent stopped", false);
  }
  if (may_take_back(number))
    add(choice(number, "is told to take back"), [&](World& after) {
      after.hosts[number].is_taking_back = true;
      enter(after, number, SourceEvent::refused);
    });
  if (may_accept(number))
    add(choice(number, "is told to accept"), [&](World& after) { write(after, number, RecordType::owned); });
}

/// As a crash, after which nothing comes back by itself.
void Expansion::fence(int number, std::string_view verb, bool loses_memory) {
  const std::size_t before = successors_.size();
  crash(fault(number, verb), number, Tail::durable, loses_memory);
  for (std::size_t i = before; i < successors_.size(); ++i) {
    successors_[i].world.hosts[number].is_off = true;
    if (rules_.forgets_old_connections) cut_off(successors_[i].world, number);
  }
}

bool Expansion::may_take_back(int number) const {
  const Host& me = host(number);
  if (!me.is(SourceState::in_doubt) || !world_.is_recorded(number, me.attempt, RecordType::given)) return false;
  if (rules_.operator_is == Operator::unfenced_take_back) return true;
  if (!world_.destination_of(me.attempt).is_off) return false;
  return rules_.operator_is == Operator::blind_take_back ||
         as_type(world_.attempts[me.attempt].at_destination) != RecordType::owned;
}

bool Expansion::may_accept(int number) const {
  const Host& me = host(number);
  const bool may_ever = rules_.operator_is == Operator::careful || rules_.operator_is == Operator::blind_accept;
  const bool could = me.is(DestinationState::prepared) && me.knows_its_journal() && me.tree == Tree::held;
  if (!may_ever || !could) return false;
  if (!world_.source_of(me.attempt).is_off) return false;
  return rules_.operator_is == Operator::blind_accept ||
         as_type(world_.attempts[me.attempt].at_source) == RecordType::given;
}

}  // namespace vmigrate::model

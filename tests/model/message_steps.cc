// SPDX-License-Identifier: GPL-2.0-or-later
// The network: what was sent arrives, if it does, at any time.
#include "tests/model/expansion.h"

namespace vmigrate::model {

void Expansion::message_steps(int attempt) {
  for (int bit = 0; bit < kMessages; ++bit) {
    const auto message = static_cast<Message>(bit);
    const Attempt& about = world_.attempts[attempt];
    const int receiver = is_for_destination(message) ? about.destination() : about.source;
    if (host(receiver).is_off) continue;
    if (about.was_sent(message)) {
      if (is_for_destination(message)) destination_receives(message, attempt);
      else source_receives(message, attempt);
    } else if (would_send(message, attempt)) {
      add({1 - receiver, attempt, "sends", name_of(message)}, [&](World& after) {
        after.attempts[attempt].sent = static_cast<std::uint8_t>(about.sent | 1 << bit);
      });
    }
  }
}

bool Expansion::would_send(Message message, int attempt) const {
  const Attempt& about = world_.attempts[attempt];
  const int sender = is_for_destination(message) ? about.source : about.destination();
  if (host(sender).is_off) return false;
  return is_for_destination(message) ? source_would_send(message, attempt) : destination_would_send(message, attempt);
}

Step Expansion::arrival_of(Message message, int attempt) const {
  const Attempt& about = world_.attempts[attempt];
  const int receiver = is_for_destination(message) ? about.destination() : about.source;
  const Kind kind = is_asked_for(message, attempt) ? Kind::assured : Kind::lucky;
  return {receiver, attempt, "receives", name_of(message), kind};
}

/// Its receiver asks for it again and again, and the sender would say it now: even if what was sent before is lost, it
/// comes.
bool Expansion::is_asked_for(Message message, int attempt) const {
  const Attempt& about = world_.attempts[attempt];
  const Host& source = host(about.source);
  if (!would_send(message, attempt)) return false;
  if (is_for_destination(message))
    return message != Message::open && message != Message::manifest &&
           host(about.destination()).is(DestinationState::prepared);
  return source.is(SourceState::in_doubt) || (message == Message::refused && source.is(SourceState::retracting));
}

}  // namespace vmigrate::model

// SPDX-License-Identifier: GPL-2.0-or-later
// What a destination says to the source's RoundEnd, without a session around it.
#pragma once

#include "migrate/incoming_lanes.h"
#include "transport/channel.h"

namespace vmigrate {

struct Copy {
  IncomingLanes& lanes;
  BlockSink& sink;
  const DigestIndex& digests;
};

/// Returns at Done.
inline Task<> acknowledge_rounds(Channel& first, Copy copy) {
  for (;;) {
    const Message message = co_await first.receive();
    if (const auto* end = std::get_if<RoundEnd>(&message)) {
      co_await copy.lanes.reach(end->round);
      co_await copy.sink.flush();
      const Message ack = RoundAck{end->round, copy.digests.root()};
      co_await first.send(ack);
    } else if (std::holds_alternative<Done>(message)) {
      co_return;
    } else {
      throw_unexpected(first, message, "RoundEnd");
    }
  }
}

/// The same, and hangs up the lanes at the end: whoever they live on may go afterwards.
inline Task<> acknowledge_rounds_and_end(Channel& first, Copy copy) {
  std::exception_ptr failure;
  try {
    co_await acknowledge_rounds(first, copy);
  } catch (...) {
    failure = std::current_exception();
  }
  co_await copy.lanes.end();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace vmigrate

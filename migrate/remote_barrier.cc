// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/remote_barrier.h"

namespace vmigrate {

Task<> RemoteBarrier::settle() { co_await end_round(RoundKind::settle); }

Task<> RemoteBarrier::flush() { co_await end_round(kind_); }

Task<> RemoteBarrier::end_round(RoundKind kind) {
  parts_.cancellation.check();
  const Bits128 root = parts_.digests.root();
  const RoundEnd end{++rounds_ended_, static_cast<std::uint8_t>(kind), root};
  co_await parts_.lanes.end_round(end);
  const Message message = end;
  co_await parts_.channel.send(message);
  parts_.channel.set_idle_timeout(timeouts_.acknowledge);
  const RoundAck ack = co_await expect<RoundAck>(parts_.channel);
  parts_.channel.set_idle_timeout(timeouts_.send);
  if (ack.round != rounds_ended_)
    throw Error(Errc::protocol_violation, parts_.channel.peer_name() + " acknowledged another round than the one sent");
  if (ack.root != root)
    throw Error(Errc::digest_mismatch, "the copy on " + parts_.channel.peer_name() + " has digest " + to_hex(ack.root) +
                                           " instead of " + to_hex(root) + "; start the migration again");
  acknowledged_root_ = ack.root;
}

}  // namespace vmigrate

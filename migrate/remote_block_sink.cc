// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/remote_block_sink.h"

namespace vmigrate {

Task<> RemoteBlockSink::write(Extent extent, std::span<const std::byte> blocks) {
  parts_.cancellation.check();
  const Message message = BlockData{extent.first.value, static_cast<std::uint32_t>(extent.count), blocks};
  const std::uint64_t before = parts_.channel.bytes_sent();
  co_await parts_.channel.send(message);
  parts_.channel.note_pause(co_await parts_.pacer.pass(parts_.channel.bytes_sent() - before));
}

Task<> RemoteBlockSink::write_zeroes(Extent extent) {
  parts_.cancellation.check();
  const Message message = BlockZeroes{extent.first.value, extent.count};
  co_await parts_.channel.send(message);
}

/// One connection keeps its order.
Task<> RemoteBlockSink::settle() {
  if (parts_.lanes != nullptr) co_await end_round(RoundKind::settle);
}

Task<> RemoteBlockSink::flush() { co_await end_round(kind_); }

Task<> RemoteBlockSink::end_round(RoundKind kind) {
  parts_.cancellation.check();
  const Bits128 root = parts_.digests.root();
  const RoundEnd end{++rounds_ended_, static_cast<std::uint8_t>(kind), root};
  if (parts_.lanes != nullptr) co_await parts_.lanes->end_round(end);
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

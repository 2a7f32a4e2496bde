// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/remote_block_sink.h"

namespace vmigrate {

Task<> RemoteBlockSink::write(Extent extent, std::span<const std::byte> blocks) {
  parts_.cancellation.check();
  const Message message = BlockData{extent.first.value, static_cast<std::uint32_t>(extent.count), blocks};
  co_await parts_.channel.send(message);
  co_await keep_to_bandwidth();
}

Task<> RemoteBlockSink::write_zeroes(Extent extent) {
  parts_.cancellation.check();
  const Message message = BlockZeroes{extent.first.value, extent.count};
  co_await parts_.channel.send(message);
}

Task<> RemoteBlockSink::flush() {
  parts_.cancellation.check();
  const Bits128 root = parts_.digests.root();
  const Message end = RoundEnd{++rounds_ended_, static_cast<std::uint8_t>(kind_), root};
  co_await parts_.channel.send(end);
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

/// Sleeps until the bytes sent so far fit the limit. Time spent idle is not saved up.
Task<> RemoteBlockSink::keep_to_bandwidth() {
  if (parts_.bandwidth_max == 0) co_return;
  const std::uint64_t sent = parts_.channel.bytes_sent();
  const auto cost = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(
      static_cast<double>(sent - paced_bytes_) / static_cast<double>(parts_.bandwidth_max)));
  paced_bytes_ = sent;
  next_send_ = std::max(next_send_, parts_.clock.now()) + cost;
  co_await parts_.clock.sleep_until(next_send_);
}

}  // namespace vmigrate

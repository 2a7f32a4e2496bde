// SPDX-License-Identifier: GPL-2.0-or-later
// A BlockSink that is the network.
#pragma once

#include "base/clock.h"
#include "engine/block_io.h"
#include "engine/digest_index.h"
#include "migrate/cancellation.h"
#include "migrate/outgoing_lanes.h"
#include "migrate/pacer.h"
#include "transport/channel.h"

namespace vmigrate {

/// How a round ends (docs/protocol.md, RoundEnd).
enum class RoundKind : std::uint8_t { live = 0, final = 1, final_and_verify = 2, settle = 3 };

/// Blocks over the first connection, and the ends of rounds over all of them.
class RemoteBlockSink final : public BlockSink {
 public:
  struct Parts {
    Channel& channel;
    const DigestIndex& digests;        ///< of everything handed on, what the destination's must equal
    Clock& clock;
    const Cancellation& cancellation;
    Pacer& pacer;
    OutgoingLanes* lanes = nullptr;   ///< if there are any
  };
  /// How long one wait may last. Before the freeze the destination may take its time to flush a whole round.
  struct Timeouts {
    Duration send = std::chrono::seconds(30);
    Duration acknowledge = std::chrono::minutes(5);
  };
  explicit RemoteBlockSink(Parts parts) : parts_(parts) {}
  void set_timeouts(Timeouts timeouts) { timeouts_ = timeouts; }

  Task<> write(Extent extent, std::span<const std::byte> blocks) override;
  Task<> write_zeroes(Extent extent) override;
  /// Returns when the destination has written everything sent so far.
  Task<> settle() override;
  /// Ends the round: returns when the destination has it on stable storage with the same digest. Throws
  /// Error(Errc::digest_mismatch).
  Task<> flush() override;

  /// What the next flush() ends.
  void set_round_kind(RoundKind kind) { kind_ = kind; }
  /// The destination's digest as of the last flush().
  Bits128 acknowledged_root() const { return acknowledged_root_; }

 private:
  Task<> end_round(RoundKind kind);

  Parts parts_;
  Timeouts timeouts_;
  RoundKind kind_ = RoundKind::live;
  std::uint32_t rounds_ended_ = 0;
  Bits128 acknowledged_root_;
};

}  // namespace vmigrate

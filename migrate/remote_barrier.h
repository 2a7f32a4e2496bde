// SPDX-License-Identifier: GPL-2.0-or-later
// The ends of rounds, over the network.
#pragma once

#include "base/clock.h"
#include "engine/block_io.h"
#include "engine/digest_index.h"
#include "migrate/cancellation.h"
#include "migrate/outgoing_lanes.h"
#include "transport/channel.h"

namespace vmigrate {

/// How a round ends (docs/protocol.md, RoundEnd).
enum class RoundKind : std::uint8_t { live = 0, final = 1, final_and_verify = 2, settle = 3 };

/// Says on every lane and then on the first connection that a round ends, and waits for the destination's word.
class RemoteBarrier final : public WriteBarrier {
 public:
  struct Parts {
    Channel& channel;                  ///< the first connection
    const DigestIndex& digests;        ///< of everything handed on, what the destination's must equal
    const Cancellation& cancellation;
    OutgoingLanes& lanes;
  };
  /// How long one wait may last. Before the freeze the destination may take its time to flush a whole round.
  struct Timeouts {
    Duration send = std::chrono::seconds(30);
    Duration acknowledge = std::chrono::minutes(5);
  };
  explicit RemoteBarrier(Parts parts) : parts_(parts) {}
  void set_timeouts(Timeouts timeouts) { timeouts_ = timeouts; }

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

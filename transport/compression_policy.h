// SPDX-License-Identifier: GPL-2.0-or-later
// Decides for one stream whether compressing the next message is worth the time. Pure: it sees only what it is told.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "transport/codec.h"

namespace vmigrate {

/// What became of one message.
struct SentMessage {
  bool was_tried = false;        ///< compression was tried, even if the message went out as it was
  std::uint64_t plain_bytes = 0;
  std::uint64_t wire_bytes = 0;
  Duration compress_time{};
  Duration total_time{};         ///< compressing and sending, with what had to be waited before to keep a limit
};

/// lz4 costs about 1.5 s per GB of one core, more than encrypting; it loses on a fast link and wins on a slow one. Two
/// rates are compared, both in plain bytes per second spent in send(): as measured raw, and as measured compressed. The
/// one not in use is tried again when the link has become slow, or now and then to see whether it still is. When the
/// link is not the bottleneck send() returns at once, the raw rate is high, and nothing is compressed: not even if that
/// looked faster, since it takes the processor from the other streams. When it is, trying costs nothing that anybody
/// waits for, even with data that do not get smaller: so the next ones that do are not missed, nothing is sent raw to
/// measure what is known, and zstd has its time. It begins compressed: on a fast link that is soon seen, on a slow one
/// nothing is lost.
class CompressionPolicy {
 public:
  /// Until the first look at how fast the link is. Socket buffers make a slow one look fast at first: with 4 MiB an
  /// evacuation over 400 Mb/s sent 3 % more (bench/evacuate).
  static constexpr std::uint64_t kFirstBytes = 16ULL << 20;
  static constexpr std::uint64_t kProbeEveryBytesMax = 4ULL << 30;
  /// Longer than the socket buffers, which would otherwise swallow the probe and make the link look fast.
  static constexpr std::uint64_t kRawProbeBytes = 16ULL << 20;
  /// A link that needs longer for them is slow: no more need be known.
  static constexpr Duration kRawProbeTime = std::chrono::milliseconds(150);

  /// A stream encrypts more: if it sends less for so long, it is the link that it waits for. (Or the processor is very
  /// busy: four streams, both their ends on two cores that others used as well, were seen to compress in vain.)
  static constexpr double kSlowBelow = 120e6;   ///< bytes per second
  static constexpr double kFastFrom = 150e6;    ///< nor is it taken for slow, whatever compressing promises
  static constexpr std::uint64_t kWindowBytes = 8ULL << 20;

  /// What the next message should be compressed with.
  Codec codec() const;
  void record(const SentMessage& message);

 private:
  enum class Phase { raw_probe, raw, packed_probe, packed };

  void enter(Phase phase);
  void end_raw_probe();
  void judge_packed_probe(const SentMessage& message);
  bool has_become_slow();
  void note_packed(const SentMessage& message);
  void look_at_packed();
  bool waits_for_link() const;

  Phase phase_ = Phase::packed;
  std::uint64_t phase_bytes_ = 0;
  Duration phase_time_{};
  Duration phase_compress_time_{};
  std::uint64_t phase_wire_bytes_ = 0;
  std::uint64_t window_bytes_ = 0;   ///< of the phase, and how long they took
  Duration window_time_{};
  std::uint64_t probe_every_bytes_ = kFirstBytes;
  double raw_rate_ = 0;
  double packed_rate_ = 0;
  /// Sums over the last compressed messages, the older ones of less weight.
  struct Recent {
    double wire_bytes = 0;
    double compress_seconds = 0;
    double seconds = 0;
  };
  Recent recent_;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// Decides for one stream whether compressing the next message is worth the time. Pure: it sees only what it is told.
#pragma once

#include <algorithm>
#include <cstddef>
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
  static constexpr std::uint64_t kProbeEveryBytesMin = 16ULL << 20;
  static constexpr std::uint64_t kProbeEveryBytesMax = 4ULL << 30;
  /// With what the socket buffers swallow, which makes the link look fast, left out.
  static constexpr Duration kRawProbeTime = std::chrono::milliseconds(150);
  static constexpr std::uint64_t kBuffersBytes = 8ULL << 20;

  /// A stream that has a processor encrypts more: if it sends less for so long, it is the link that it waits for.
  static constexpr double kSlowBelow = 120e6;     ///< bytes per second
  static constexpr double kFastFrom = 150e6;      ///< nor is it taken for slow, whatever compressing promises
  static constexpr std::uint64_t kWindowBytes = 8ULL << 20;
  /// A thread may well wait 20 ms for its turn.
  static constexpr Duration kWindowTimeMin = std::chrono::milliseconds(100);
  static constexpr Duration kWindowTimeMax = std::chrono::milliseconds(500);   ///< however little was sent

  CompressionPolicy() : CompressionPolicy(1, 1) {}
  /// `streams` share the link and these processors about equally: if they are more, each is slow below less.
  CompressionPolicy(std::size_t streams, std::size_t processors)
      : share_(std::min(1.0, static_cast<double>(processors) / static_cast<double>(streams))) {}

  /// What the next message should be compressed with.
  Codec codec() const;
  void record(const SentMessage& message);

 private:
  enum class Phase { raw_probe, raw, packed_probe, packed };

  void enter(Phase phase);
  void forget_window();
  void end_raw_probe();
  void judge_packed_probe(const SentMessage& message);
  bool has_become_slow();
  void note_packed(const SentMessage& message);
  void look_at_packed();
  bool waits_for_link() const;
  double packed_rate() const;

  double share_;   ///< of a processor
  Phase phase_ = Phase::packed;
  std::uint64_t phase_bytes_ = 0;
  Duration phase_time_{};
  Duration phase_compress_time_{};
  std::uint64_t phase_wire_bytes_ = 0;
  std::uint64_t window_bytes_ = 0;   ///< of the phase, and how long they took
  Duration window_time_{};
  std::uint64_t probe_every_bytes_ = kFirstBytes;
  double raw_rate_ = 0;
  /// Sums over the last compressed messages, the older ones of less weight.
  struct Recent {
    double plain_bytes = 0;
    double wire_bytes = 0;
    double compress_seconds = 0;
    double seconds = 0;
  };
  Recent recent_;
};

}  // namespace vmigrate

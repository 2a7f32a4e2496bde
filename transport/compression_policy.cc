// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/compression_policy.h"

#include <algorithm>
#include <utility>

namespace vmigrate {
namespace {

constexpr double kNewSampleWeight = 0.2;
constexpr double kTolerable = 0.95;  // of the raw rate: what lz4 may lose with data that do not get smaller
/// The same for what is only foretold, as if nothing else could go on while it compresses.
constexpr double kTolerableForetold = 0.9;
constexpr double kShareMax = 0.5;

double rate_of(std::uint64_t bytes, Duration time) {
  return static_cast<double>(bytes) / std::max(std::chrono::duration<double>(time).count(), 1e-9);
}

void blend(double& rate, double sample) {
  // In seconds per byte, so that one message swallowed by the socket buffer does not outweigh ten slow ones.
  rate = rate == 0 ? sample : 1 / ((1 - kNewSampleWeight) / rate + kNewSampleWeight / sample);
}

}  // namespace

bool CompressionPolicy::wants_compression() const { return phase_ == Phase::lz4_probe || phase_ == Phase::lz4; }

Lz4Effort CompressionPolicy::effort() const {
  const bool has_time = wire_rate_ > 0 && wire_rate_ < kThoroughBelow && compress_share_ < kShareMax;
  return phase_ == Phase::lz4 && has_time && has_got_smaller_ ? Lz4Effort::thorough : Lz4Effort::fast;
}

void CompressionPolicy::record(const SentMessage& message) {
  if (message.plain_bytes == 0 || message.was_tried != wants_compression()) return;
  phase_bytes_ += message.plain_bytes;
  phase_time_ += message.total_time;
  phase_compress_time_ += message.compress_time;
  phase_wire_bytes_ += message.wire_bytes;
  window_bytes_ += message.plain_bytes;
  window_time_ += message.total_time;
  const double rate = rate_of(message.plain_bytes, message.total_time);
  switch (phase_) {
    case Phase::raw_probe:
      // The first half only fills the socket buffers.
      if (phase_bytes_ > kRawProbeBytes / 2 || phase_time_ > kRawProbeTime / 2) blend(raw_rate_, rate);
      if (phase_bytes_ >= kRawProbeBytes || phase_time_ >= kRawProbeTime) end_raw_probe();
      return;
    case Phase::raw:
      blend(raw_rate_, rate);
      if (has_become_slow() || phase_bytes_ >= probe_every_bytes_) enter(Phase::lz4_probe);
      return;
    case Phase::lz4_probe:
      judge_lz4_probe(message);
      return;
    case Phase::lz4:
      blend(lz4_rate_, rate);
      note_lz4(message);
      look_at_lz4();
      return;
  }
}

void CompressionPolicy::enter(Phase phase) {
  phase_ = phase;
  phase_bytes_ = phase_wire_bytes_ = window_bytes_ = 0;
  phase_time_ = phase_compress_time_ = window_time_ = {};
  if (phase == Phase::raw_probe) raw_rate_ = 0;
}

void CompressionPolicy::end_raw_probe() {
  const bool stays = lz4_rate_ >= raw_rate_ * kTolerable;
  if (stays) grow_interval();
  else probe_every_bytes_ = kProbeEveryBytesMin;
  enter(stays ? Phase::lz4 : Phase::raw);
}

bool CompressionPolicy::has_become_slow() {
  if (window_bytes_ < kWindowBytes) return false;
  const double rate = rate_of(std::exchange(window_bytes_, 0), std::exchange(window_time_, {}));
  return rate < kSlowBelow;
}

/// The link's rate is known from what it carries, unless the compressor is what it waits for.
void CompressionPolicy::note_lz4(const SentMessage& message) {
  const double share = static_cast<double>(message.compress_time.count()) /
                       static_cast<double>(std::max<Duration::rep>(message.total_time.count(), 1));
  compress_share_ += (share - compress_share_) * kNewSampleWeight;
  blend(wire_rate_, rate_of(message.wire_bytes, message.total_time));
  has_got_smaller_ = message.wire_bytes < message.plain_bytes;
}

void CompressionPolicy::look_at_lz4() {
  const bool is_disappointing = phase_bytes_ >= kRawProbeBytes && lz4_rate_ < raw_rate_ * kTolerable;
  if (phase_bytes_ < probe_every_bytes_ && !(is_disappointing && !waits_for_link())) return;
  enter(waits_for_link() ? Phase::lz4 : Phase::raw_probe);
}

/// More than for the compressor, and longer than encrypting takes: raw the link would need longer still.
bool CompressionPolicy::waits_for_link() const {
  return phase_compress_time_ * 2 < phase_time_ && rate_of(phase_wire_bytes_, phase_time_) < kSlowBelow;
}

/// One message is enough: what it took to compress it, and what the link will take for the rest.
void CompressionPolicy::judge_lz4_probe(const SentMessage& message) {
  const double compress_rate = rate_of(message.plain_bytes, message.compress_time);
  const double link_rate = raw_rate_ * static_cast<double>(message.plain_bytes) /
                           static_cast<double>(std::max<std::uint64_t>(message.wire_bytes, 1));
  const double promised = 1 / (1 / compress_rate + 1 / link_rate);
  if (promised < raw_rate_ * kTolerableForetold) {
    grow_interval();
    return enter(Phase::raw);
  }
  lz4_rate_ = promised;
  probe_every_bytes_ = kRawProbeBytes;
  enter(Phase::lz4);
}

void CompressionPolicy::grow_interval() { probe_every_bytes_ = std::min(probe_every_bytes_ * 2, kProbeEveryBytesMax); }

}  // namespace vmigrate

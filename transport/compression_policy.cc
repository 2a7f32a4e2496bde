// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/compression_policy.h"

#include <algorithm>

namespace vmigrate {
namespace {

constexpr double kNewSampleWeight = 0.2;
constexpr double kWorthIt = 1.1;  // a gain below a tenth is noise, and the peer must expand as well

double rate_of(std::uint64_t bytes, Duration time) {
  return static_cast<double>(bytes) / std::max(std::chrono::duration<double>(time).count(), 1e-9);
}

void blend(double& rate, double sample) {
  // In seconds per byte, so that one message swallowed by the socket buffer does not outweigh ten slow ones.
  rate = rate == 0 ? sample : 1 / ((1 - kNewSampleWeight) / rate + kNewSampleWeight / sample);
}

}  // namespace

bool CompressionPolicy::wants_compression() const { return phase_ == Phase::lz4_probe || phase_ == Phase::lz4; }

void CompressionPolicy::record(const SentMessage& message) {
  if (message.plain_bytes == 0 || message.was_tried != wants_compression()) return;
  phase_bytes_ += message.plain_bytes;
  const double rate = rate_of(message.plain_bytes, message.total_time);
  switch (phase_) {
    case Phase::raw_probe:
      // The first half only fills the socket buffers.
      if (phase_bytes_ > kRawProbeBytes / 2) blend(raw_rate_, rate);
      if (phase_bytes_ >= kRawProbeBytes) end_raw_probe();
      return;
    case Phase::raw:
      blend(raw_rate_, rate);
      if (phase_bytes_ >= probe_every_bytes_) enter(Phase::lz4_probe);
      return;
    case Phase::lz4_probe:
      judge_lz4_probe(message);
      return;
    case Phase::lz4:
      blend(lz4_rate_, rate);
      if (phase_bytes_ >= probe_every_bytes_) enter(Phase::raw_probe);
      return;
  }
}

void CompressionPolicy::enter(Phase phase) {
  phase_ = phase;
  phase_bytes_ = 0;
  if (phase == Phase::raw_probe) raw_rate_ = 0;
}

void CompressionPolicy::end_raw_probe() {
  if (!has_met_lz4_) return enter(Phase::lz4_probe);
  const bool stays = lz4_rate_ > raw_rate_ * kWorthIt;
  if (stays) grow_interval();
  else probe_every_bytes_ = kProbeEveryBytesMin;
  enter(stays ? Phase::lz4 : Phase::raw);
}

/// One message is enough: it cannot get through faster than it is compressed, nor faster than the link carries the
/// rest.
void CompressionPolicy::judge_lz4_probe(const SentMessage& message) {
  has_met_lz4_ = true;
  const double compress_rate = rate_of(message.plain_bytes, message.compress_time);
  const double link_rate = raw_rate_ * static_cast<double>(message.plain_bytes) /
                           static_cast<double>(std::max<std::uint64_t>(message.wire_bytes, 1));
  const double promised = std::min(compress_rate, link_rate);
  if (promised <= raw_rate_ * kWorthIt) {
    grow_interval();
    return enter(Phase::raw);
  }
  lz4_rate_ = promised;
  probe_every_bytes_ = kProbeEveryBytesMin;
  enter(Phase::lz4);
}

void CompressionPolicy::grow_interval() { probe_every_bytes_ = std::min(probe_every_bytes_ * 2, kProbeEveryBytesMax); }

}  // namespace vmigrate

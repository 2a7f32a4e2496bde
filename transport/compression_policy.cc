// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/compression_policy.h"

#include <algorithm>

namespace vmigrate {
namespace {

constexpr double kTolerable = 0.95;  // of the raw rate: what compressing may lose with data that do not get smaller
/// The same for what is only foretold, as if nothing else could go on while it compresses.
constexpr double kTolerableForetold = 0.9;
constexpr double kShareMax = 0.5;   // of the time: what zstd may take
constexpr double kMemoryBytes = 20 << 20;   // much more than the socket buffers swallow at once

double rate_of(std::uint64_t bytes, Duration time) {
  return static_cast<double>(bytes) / std::max(std::chrono::duration<double>(time).count(), 1e-9);
}

}  // namespace

Codec CompressionPolicy::codec() const {
  if (phase_ == Phase::raw_probe || phase_ == Phase::raw) return Codec::none;
  const bool may_be_slow = raw_rate_ == 0 || recent_.wire_bytes < recent_.seconds * share_ * kSlowBelow;
  const bool has_time = recent_.compress_seconds <= recent_.seconds * kShareMax;
  return phase_ == Phase::packed && may_be_slow && has_time ? Codec::zstd : Codec::lz4;
}

void CompressionPolicy::record(const SentMessage& message) {
  if (message.plain_bytes == 0 || message.was_tried != (codec() != Codec::none)) return;
  phase_bytes_ += message.plain_bytes;
  phase_time_ += message.total_time;
  phase_compress_time_ += message.compress_time;
  phase_wire_bytes_ += message.wire_bytes;
  window_bytes_ += message.plain_bytes;
  window_time_ += message.total_time;
  switch (phase_) {
    case Phase::raw_probe:
      // At first it only fills the socket buffers.
      if (phase_bytes_ <= kBuffersBytes && phase_time_ <= kRawProbeTime / 2) forget_window();
      else if (phase_time_ >= kRawProbeTime) end_raw_probe();
      return;
    case Phase::raw:
      if (has_become_slow()) enter(Phase::packed_probe);
      return;
    case Phase::packed_probe:
      judge_packed_probe(message);
      return;
    case Phase::packed:
      note_packed(message);
      look_at_packed();
      return;
  }
}

void CompressionPolicy::enter(Phase phase) {
  phase_ = phase;
  phase_bytes_ = phase_wire_bytes_ = 0;
  phase_time_ = phase_compress_time_ = {};
  forget_window();
}

void CompressionPolicy::forget_window() {
  window_bytes_ = 0;
  window_time_ = {};
}

void CompressionPolicy::end_raw_probe() {
  raw_rate_ = rate_of(window_bytes_, window_time_);
  const bool stays = raw_rate_ < share_ * kFastFrom && packed_rate() >= raw_rate_ * kTolerable;
  if (stays) probe_every_bytes_ = std::clamp(probe_every_bytes_ * 2, kProbeEveryBytesMin, kProbeEveryBytesMax);
  enter(stays ? Phase::packed : Phase::raw);
}

bool CompressionPolicy::has_become_slow() {
  if (window_time_ < (window_bytes_ < kWindowBytes ? kWindowTimeMax : kWindowTimeMin)) return false;
  raw_rate_ = rate_of(window_bytes_, window_time_);
  forget_window();
  return raw_rate_ < share_ * kSlowBelow;
}

void CompressionPolicy::note_packed(const SentMessage& message) {
  const double kept = 1 - std::min(static_cast<double>(message.plain_bytes) / kMemoryBytes, 1.0);
  const auto add = [kept](double& sum, double sample) { sum = sum * kept + sample; };
  add(recent_.plain_bytes, static_cast<double>(message.plain_bytes));
  add(recent_.wire_bytes, static_cast<double>(message.wire_bytes));
  add(recent_.compress_seconds, std::chrono::duration<double>(message.compress_time).count());
  add(recent_.seconds, std::chrono::duration<double>(message.total_time).count());
}

void CompressionPolicy::look_at_packed() {
  const bool is_disappointing = phase_bytes_ >= kProbeEveryBytesMin && packed_rate() < raw_rate_ * kTolerable;
  if (phase_bytes_ < probe_every_bytes_ && !(is_disappointing && !waits_for_link())) return;
  enter(waits_for_link() ? Phase::packed : Phase::raw_probe);
}

/// More than for the compressor, and longer than encrypting takes: raw the link would need longer still.
bool CompressionPolicy::waits_for_link() const {
  return phase_compress_time_ * 2 < phase_time_ && rate_of(phase_wire_bytes_, phase_time_) < share_ * kSlowBelow;
}

double CompressionPolicy::packed_rate() const { return recent_.plain_bytes / std::max(recent_.seconds, 1e-9); }

/// One message is enough: what it took to compress it, and what the link will take for the rest.
void CompressionPolicy::judge_packed_probe(const SentMessage& message) {
  const double compress_rate = rate_of(message.plain_bytes, message.compress_time);
  const double link_rate = raw_rate_ * static_cast<double>(message.plain_bytes) /
                           static_cast<double>(std::max<std::uint64_t>(message.wire_bytes, 1));
  const double promised = 1 / (1 / compress_rate + 1 / link_rate);
  if (promised < raw_rate_ * kTolerableForetold) return enter(Phase::raw);
  recent_ = {};
  probe_every_bytes_ = kProbeEveryBytesMin;
  enter(Phase::packed);
}

}  // namespace vmigrate

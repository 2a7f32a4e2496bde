// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/pacer.h"

#include <algorithm>

namespace vmigrate {
namespace {

constexpr auto kLookForStopEvery = std::chrono::milliseconds(100);   // a low limit makes for long waits

}  // namespace

Task<Duration> Pacer::pass(std::uint64_t bytes) {
  if (place_ != nullptr) co_await place_->make_way(clock_);
  const TimePoint began = clock_.now();
  const std::optional<TimePoint> due = book(bytes);
  while (due && !is_stopped_ && clock_.now() < *due)
    co_await clock_.sleep_until(std::min<TimePoint>(*due, clock_.now() + kLookForStopEvery));
  co_return clock_.now() - began;
}

void Pacer::set_rate(std::uint64_t bytes_per_second) {
  const std::lock_guard lock(mutex_);
  rate_ = bytes_per_second;
  next_send_ = {};
}

/// The end of the wait; none without a limit.
std::optional<TimePoint> Pacer::book(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (rate_ == 0) return std::nullopt;
  const auto cost = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(rate_)));
  next_send_ = std::max(next_send_, clock_.now()) + cost;
  return next_send_;
}

}  // namespace vmigrate

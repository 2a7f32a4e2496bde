// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/pacer.h"

#include <algorithm>

namespace vmigrate {
namespace {

constexpr auto kLookForStopEvery = std::chrono::milliseconds(100);   // a low limit makes for long waits

}  // namespace

Task<> Pacer::pass(std::uint64_t bytes) {
  if (rate_ == 0) co_return;
  const TimePoint due = book(bytes);
  while (!is_stopped_ && clock_.now() < due)
    co_await clock_.sleep_until(std::min<TimePoint>(due, clock_.now() + kLookForStopEvery));
}

TimePoint Pacer::book(std::uint64_t bytes) {
  const auto cost = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(rate_)));
  const std::lock_guard lock(mutex_);
  next_send_ = std::max(next_send_, clock_.now()) + cost;
  return next_send_;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/pacer.h"

#include <algorithm>

namespace vmigrate {
namespace {

// For a stop or a new rate: a low limit makes for long waits.
constexpr auto kLookEvery = std::chrono::milliseconds(100);

}  // namespace

Task<Duration> Pacer::pass(std::uint64_t bytes) {
  if (place_ != nullptr) co_await place_->make_way(clock_);
  const TimePoint began = clock_.now();
  Booking booking = book(bytes);
  while (booking.due && !is_stopped_ && clock_.now() < *booking.due) {
    co_await clock_.sleep_until(std::min<TimePoint>(*booking.due, clock_.now() + kLookEvery));
    if (changes_ != booking.change) booking = book(bytes);
  }
  co_return clock_.now() - began;
}

void Pacer::set_rate(std::uint64_t bytes_per_second) {
  const std::lock_guard lock(mutex_);
  if (rate_ == bytes_per_second) return;
  rate_ = bytes_per_second;
  next_send_ = {};
  ++changes_;
}

Pacer::Booking Pacer::book(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (rate_ == 0) return {std::nullopt, changes_};
  const auto cost = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(rate_)));
  next_send_ = std::max(next_send_, clock_.now()) + cost;
  return {next_send_, changes_};
}

}  // namespace vmigrate

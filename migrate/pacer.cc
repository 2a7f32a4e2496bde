// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/pacer.h"

#include <algorithm>

namespace vmigrate {

Task<> Pacer::pass(std::uint64_t bytes) {
  if (rate_ == 0) co_return;
  co_await clock_.sleep_until(book(bytes));
}

TimePoint Pacer::book(std::uint64_t bytes) {
  const auto cost = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(rate_)));
  const std::lock_guard lock(mutex_);
  next_send_ = std::max(next_send_, clock_.now()) + cost;
  return next_send_;
}

}  // namespace vmigrate

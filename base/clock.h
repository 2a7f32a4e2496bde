// SPDX-License-Identifier: GPL-2.0-or-later
// The only source of time.
#pragma once

#include <chrono>

#include "base/async.h"

namespace vmigrate {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

/// Production uses SteadyClock; a simulation advances its own clock by hand.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
  /// Returns at `when` or later. Ends early, by exception, when the calling coroutine is cancelled.
  virtual Task<> sleep_until(TimePoint when) = 0;

  Task<> sleep_for(Duration how_long) { return sleep_until(now() + how_long); }
};

class SteadyClock final : public Clock {
 public:
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
  Task<> sleep_until(TimePoint when) override;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// Virtual time, and what is going to happen in it.
#pragma once

#include <functional>
#include <map>
#include <utility>

#include "base/clock.h"

namespace vmigrate::sim {

/// Events of the same moment happen in the order in which they were made.
class Timeline {
 public:
  using Action = std::function<void()>;
  using Ticket = std::multimap<TimePoint, Action>::iterator;

  TimePoint now() const { return now_; }
  Ticket at(TimePoint when, Action action) { return events_.emplace(std::max(when, now_), std::move(action)); }
  Ticket after(Duration how_long, Action action) { return at(now_ + how_long, std::move(action)); }
  /// Only for an event that has not happened yet.
  void take_away(Ticket ticket) { events_.erase(ticket); }

  /// The next event happens. False if there is none.
  bool step() {
    if (events_.empty()) return false;
    auto event = events_.extract(events_.begin());
    now_ = event.key();
    event.mapped()();
    return true;
  }
  std::size_t size() const { return events_.size(); }

 private:
  TimePoint now_{std::chrono::hours(1)};
  std::multimap<TimePoint, Action> events_;
};

}  // namespace vmigrate::sim

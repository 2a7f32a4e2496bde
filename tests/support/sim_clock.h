// SPDX-License-Identifier: GPL-2.0-or-later
// Time that passes only when nothing else can happen: an hour of waiting takes a moment, and always the same one.
#pragma once

#include <functional>
#include <future>
#include <map>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "base/clock.h"

namespace vmigrate {

/// A clock that advance() moves to the next sleeper.
class SimClock final : public Clock {
 public:
  explicit SimClock(asio::any_io_executor executor) : executor_(std::move(executor)) {}

  TimePoint now() const override { return now_; }
  Task<> sleep_until(TimePoint when) override {
    if (when <= now_) co_return;
    Sleeper sleeper{asio::steady_timer(executor_, asio::steady_timer::time_point::max())};
    const auto place = sleepers_.emplace(when, &sleeper);
    [[maybe_unused]] auto [cancelled] = co_await sleeper.timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (sleeper.is_due) co_return;
    sleepers_.erase(place);
    throw boost::system::system_error(asio::error::operation_aborted);
  }

  /// Wakes whoever sleeps the shortest. False if nobody sleeps.
  bool advance() {
    if (sleepers_.empty()) return false;
    now_ = sleepers_.begin()->first;
    while (!sleepers_.empty() && sleepers_.begin()->first <= now_) {
      Sleeper& sleeper = *sleepers_.begin()->second;
      sleepers_.erase(sleepers_.begin());
      sleeper.is_due = true;
      sleeper.timer.cancel();
    }
    return true;
  }

 private:
  struct Sleeper {
    asio::steady_timer timer;   // never expires; cancelled to wake
    bool is_due = false;
  };

  asio::any_io_executor executor_;
  TimePoint now_{std::chrono::hours(1)};
  std::multimap<TimePoint, Sleeper*> sleepers_;
};

/// An event loop, a pool of one thread, and their time.
class SimLoop {
 public:
  asio::io_context& loop() { return loop_; }
  asio::thread_pool& pool() { return pool_; }
  SimClock& clock() { return clock_; }

  /// Returns true once `is_done`; false when nothing can ever happen any more.
  bool run_until(const std::function<bool()>& is_done) {
    for (int idle = 0; !is_done();) {
      let_pool_finish();
      loop_.restart();
      if (loop_.poll() > 0) {
        idle = 0;
      } else if (++idle == kIdleTurns) {
        idle = 0;
        if (!clock_.advance()) return false;
      }
    }
    return true;
  }

 private:
  // What the pool does may give it more to do; this often is more than any chain of it is long.
  static constexpr int kIdleTurns = 6;

  /// The pool has one thread and works in order: when this is done, everything given to it before is, too.
  void let_pool_finish() {
    std::promise<void> done;
    asio::post(pool_, [&done] { done.set_value(); });
    done.get_future().wait();
  }

  asio::io_context loop_{1};
  asio::thread_pool pool_{1};
  SimClock clock_{loop_.get_executor()};
};

}  // namespace vmigrate

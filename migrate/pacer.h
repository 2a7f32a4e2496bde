// SPDX-License-Identifier: GPL-2.0-or-later
// Keeps what several connections send together within a bandwidth, and behind whoever needs the link more.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "migrate/precedence.h"

namespace vmigrate {

/// From any thread.
class Pacer {
 public:
  /// `bytes_per_second` 0: no limit. `place`: of the session whose blocks these are, if it is not alone.
  Pacer(Clock& clock, std::uint64_t bytes_per_second, Precedence::Place* place = nullptr)
      : clock_(clock), place_(place), rate_(bytes_per_second) {}
  Pacer(const Pacer&) = delete;

  /// Returns when `bytes` that were just sent fit the limit and no other container of this host needs the link, or soon
  /// after stop(). Time spent idle is not saved up. Returns how long the limit made it wait.
  Task<Duration> pass(std::uint64_t bytes);
  /// Nobody waits any more: what would be sent has nowhere to go.
  void stop() noexcept { is_stopped_ = true; }
  bool is_stopped() const noexcept { return is_stopped_; }
  /// For what is sent from now on, whatever was owed at the rate before. Who waits already begins his wait anew.
  void set_rate(std::uint64_t bytes_per_second);

 private:
  struct Booking {
    std::optional<TimePoint> due;   ///< the end of the wait; none without a limit
    std::uint64_t change = 0;       ///< the rate that it was made by
  };
  Booking book(std::uint64_t bytes);

  Clock& clock_;
  Precedence::Place* place_;
  std::mutex mutex_;   // of what follows
  std::uint64_t rate_;
  TimePoint next_send_{};
  std::atomic<std::uint64_t> changes_{0};   // read without it
  std::atomic<bool> is_stopped_{false};
};

}  // namespace vmigrate

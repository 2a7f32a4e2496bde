// SPDX-License-Identifier: GPL-2.0-or-later
// The operator's change of mind, as long as it is allowed.
#pragma once

#include <functional>
#include <utility>

#include "base/error.h"

namespace vmigrate {

/// Shared by a session and whoever may cancel it, on one executor. Outlives both.
class Cancellation {
 public:
  void request() noexcept {
    if (std::exchange(is_requested_, true)) return;
    if (interrupt_) interrupt_();
  }
  /// This process is about to end: even a session in doubt stops asking. What the journal says stays true.
  void shut_down() noexcept {
    is_shutting_down_ = true;
    request();
  }
  bool is_requested() const noexcept { return is_requested_; }
  bool is_shutting_down() const noexcept { return is_shutting_down_; }
  /// Throws Error(Errc::cancelled) once it was requested. Sessions call it between steps, never after GIVEN.
  void check() const {
    if (is_requested_)
      throw Error(Errc::cancelled, "cancelled by the operator; the container goes on running on the source");
  }
  /// What wakes the session out of a wait; called at once if the request came before. It must not throw; an empty
  /// function takes it away.
  void on_request(std::function<void()> interrupt) {
    interrupt_ = std::move(interrupt);
    if (is_requested_ && interrupt_) interrupt_();
  }

 private:
  bool is_requested_ = false;
  bool is_shutting_down_ = false;
  std::function<void()> interrupt_;
};

}  // namespace vmigrate

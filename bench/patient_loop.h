// SPDX-License-Identifier: GPL-2.0-or-later
// An executor with a thread of its own that may be kept waiting, as a migration's lane has one.
#pragma once

#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "base/async.h"

namespace vmigrate {

class PatientLoop {
 public:
  PatientLoop() = default;
  PatientLoop(const PatientLoop&) = delete;
  /// Whoever still runs on it comes to an end first.
  ~PatientLoop() {
    stays_up_.reset();
    thread_.join();
  }
  asio::any_io_executor executor() { return loop_.get_executor(); }

 private:
  asio::io_context loop_{1};
  asio::executor_work_guard<asio::io_context::executor_type> stays_up_{loop_.get_executor()};
  std::thread thread_{[this] {
    const PatientThread patience;
    loop_.run();
  }};
};

}  // namespace vmigrate

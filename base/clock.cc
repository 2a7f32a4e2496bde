// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/clock.h"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

namespace vmigrate {

Task<> SteadyClock::sleep_until(TimePoint when) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, when);
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace vmigrate

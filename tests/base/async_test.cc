// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async.h"

#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <stdexcept>
#include <thread>

#include "base/clock.h"
#include "tests/catch.h"
#include "tests/support/run_task.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

Task<std::thread::id> id_on_pool(asio::thread_pool& pool) {
  co_return co_await offload(pool, [] { return std::this_thread::get_id(); });
}

Task<> fail_on_pool(asio::thread_pool& pool) {
  co_await offload(pool, [] { throw std::runtime_error("disk"); });
}

Task<Duration> measure_sleep(Clock& clock) {
  const auto start = clock.now();
  co_await clock.sleep_for(5ms);
  co_return clock.now() - start;
}

Task<std::string> text_through_pool(asio::thread_pool& pool, std::string text) {
  const auto work = [text] { return text + "!"; };  // named: see base/async.h
  co_return co_await offload(pool, work);
}

}  // namespace

TEST_CASE("what offloaded work captured is destroyed once", "[base]") {
  asio::thread_pool pool(1);
  CHECK(run_task(text_through_pool(pool, "short")) == "short!");
  CHECK(run_task(text_through_pool(pool, std::string(100, 'x'))) == std::string(100, 'x') + "!");
}

TEST_CASE("offloaded work runs on the pool", "[base]") {
  asio::thread_pool pool(1);
  CHECK(run_task(id_on_pool(pool)) != std::this_thread::get_id());
}

TEST_CASE("a failure of offloaded work arrives at the co_await", "[base]") {
  asio::thread_pool pool(1);
  CHECK_THROWS_WITH(run_task(fail_on_pool(pool)), "disk");
}

TEST_CASE("the steady clock sleeps at least as long as asked", "[base]") {
  SteadyClock clock;
  CHECK(run_task(measure_sleep(clock)) >= 5ms);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/live_process.h"

#include "tests/catch.h"
#include "tests/support/sleeping_process.h"

using namespace vmigrate;

TEST_CASE("a process is alive until it ends", "[checkpoint]") {
  SleepingProcess process;
  const LiveProcess seen(process.pid());
  REQUIRE(seen.is_alive());
  process.end();
  REQUIRE_FALSE(seen.is_alive());
}

TEST_CASE("a process that has ended is dead, even if nobody has asked how", "[checkpoint]") {
  SleepingProcess process;
  const LiveProcess seen(process.pid());
  process.kill_only();
  REQUIRE_FALSE(seen.is_alive());
}

TEST_CASE("a number that nobody has is a dead process", "[checkpoint]") {
  SleepingProcess process;
  const pid_t pid = process.pid();
  process.end();
  REQUIRE_FALSE(LiveProcess(pid).is_alive());
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/criu_log.h"

#include "checkpoint/criu_command.h"
#include "tests/catch.h"

using namespace vmigrate;

TEST_CASE("the reason in CRIU's log has no time stamps, and a remedy", "[checkpoint]") {
  const auto* const log =
      "(00.000001) Version: 4.2.1\n"
      "(00.065169) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
      "(00.070000) Error (criu/files-ext.c:98): Can't dump file 5 of that type [600] (unknown /anon_inode:[io_uring])\n"
      "(00.070001) ----------------------------------------\n"
      "(00.070002) Error (criu/cr-dump.c:1733): Dump files (pid: 140) failed with -1\n"
      "(00.080000) Error (criu/cr-dump.c:2128): Dumping FAILED.\n";
  const auto reason = reason_in_criu_log(log);
  CHECK(reason.find("Can't dump file 5 of that type") == 0);
  CHECK(reason.find("Dump files (pid: 140) failed with -1") != std::string::npos);
  CHECK(reason.find("switch it off") != std::string::npos);
  CHECK(reason.find("RLIMIT") == std::string::npos);
  CHECK(reason.find("FAILED") == std::string::npos);
  CHECK(reason.find("(00.") == std::string::npos);
}

TEST_CASE("a log without errors gives no reason, and a hostile one no control characters", "[checkpoint]") {
  CHECK(reason_in_criu_log("").empty());
  CHECK(reason_in_criu_log("(00.1) Dumping finished successfully\n").empty());
  CHECK(reason_in_criu_log("Error (x") == "");
  CHECK(reason_in_criu_log("Error (a.c:1): a\x1b[2Jb") == "a?[2Jb");
  CHECK(reason_in_criu_log("(00.1) Error (a.c:1): " + std::string(5000, 'x')).size() <= 300);
}

TEST_CASE("only the last three reasons are told, each once", "[checkpoint]") {
  const auto* const log =
      "Error (a.c:1): one\nError (a.c:1): two\nError (a.c:1): two\nError (a.c:1): three\nError (a.c:1): four";
  CHECK(reason_in_criu_log(log) == "two; three; four");
}

TEST_CASE("no argument becomes part of the shell's text", "[checkpoint]") {
  const auto words = with_criu_config("skip'; touch /x; '\n", {"runc", "restore", "$(id)"});
  const auto script = std::find(words.begin(), words.end(), "-c") + 1;
  CHECK(script->find("touch /x") == std::string::npos);
  CHECK(words.back() == "$(id)");
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/subprocess.h"

#include "tests/catch.h"

using namespace vmigrate;
using namespace std::chrono_literals;

TEST_CASE("a command's output, errors and status come back", "[base]") {
  const auto result = run_command({.argv = {"sh", "-c", "echo out; echo err >&2; exit 3"}});
  CHECK(result.output == "out\n");
  CHECK(result.errors == "err\n");
  CHECK(result.exit_status == 3);
}

TEST_CASE("a command reads the input it is given", "[base]") {
  const std::string input(300'000, 'x');
  CHECK(run_command({.argv = {"wc", "-c"}, .input = input}).output == "300000\n");
}

TEST_CASE("a command that does not exist is an error with its name", "[base]") {
  CHECK_THROWS_WITH(run_command({.argv = {"no-such-command-here"}}),
                    "cannot run no-such-command-here: No such file or directory");
}

TEST_CASE("of what a command complains one printable line is shown", "[base]") {
  CHECK(first_line_of("").empty());
  CHECK(first_line_of("\n").empty());
  CHECK(first_line_of("open /run/runc: denied\nmore\n") == "open /run/runc: denied");
  CHECK(first_line_of("a\x1b[2J\tb\xff\r\nc") == "a?[2J?b?");
  CHECK(first_line_of(std::string(1000, 'x')) == std::string(200, 'x'));
}

TEST_CASE("a command past its deadline is killed", "[base]") {
  CHECK_THROWS_AS(run_command({.argv = {"sleep", "60"}, .timeout = 50ms}), Error);
}

TEST_CASE("a command that waits for a child of its own that is dead is killed", "[base]") {
  const Command command = {.argv = {"sh", "-c", "true & exec sleep 60"},
                           .discards_output = true,
                           .timeout = 30s,
                           .patience_with_dead_children = 50ms};
  REQUIRE_THROWS_WITH(run_command(command), "sh was killed: it waited for a process that had died");
}

TEST_CASE("a command is not disturbed while its children live", "[base]") {
  const Command command = {.argv = {"sh", "-c", "sleep 2 & wait"}, .patience_with_dead_children = 1s};
  CHECK(run_command(command).exit_status == 0);
}

TEST_CASE("a failed command is reported by its last line", "[base]") {
  CHECK_THROWS_WITH(run_checked({.argv = {"sh", "-c", "echo no; echo why >&2; exit 1"}}, Errc::checkpoint_failed),
                    "sh -c failed with status 1: why");
}

TEST_CASE("a child sees no descriptors of ours", "[base]") {
  const auto result = run_command({.argv = {"ls", "/proc/self/fd"}});
  CHECK(result.output == "0\n1\n2\n3\n");  // 3 is the directory that ls reads
}

TEST_CASE("output beyond the bound is dropped, not stored", "[base]") {
  const auto result = run_command({.argv = {"head", "-c", "3000000", "/dev/zero"}});
  CHECK(result.output.size() == std::size_t{1} << 20);
  CHECK(result.exit_status == 0);
}

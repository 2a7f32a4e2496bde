// SPDX-License-Identifier: GPL-2.0-or-later
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <vector>

#include "base/error.h"
#include "base/failpoint.h"
#include "tests/catch.h"

using namespace vmigrate;

namespace {

const std::vector<std::string> kKnown = {"journal.given.before_write", "message.Go.before_send"};

/// Takes every wish away again.
struct NoFailpointsAfterwards {
  ~NoFailpointsAfterwards() { set_failpoint_handler({}); }
};

int errno_at(std::string_view subject, std::string_view object, std::string_view step) {
  try {
    failpoint(subject, object, step);
  } catch (const Error& error) {
    return error.code().value();
  }
  return 0;
}

bool is_usage(const std::string& wishes) {
  try {
    set_failpoints(wishes, kKnown);
  } catch (const Error& error) {
    return error.code() == make_error_code(Errc::usage);
  }
  return false;
}

}  // namespace

TEST_CASE("a failpoint that nobody asked for does nothing", "[failpoint]") {
  REQUIRE_FALSE(are_failpoints_set());
  CHECK(errno_at("journal", "given", "before_write") == 0);
}

TEST_CASE("a handler hears the name of each point", "[failpoint]") {
  const NoFailpointsAfterwards clean;
  std::vector<std::string> heard;
  set_failpoint_handler([&](std::string_view name) { heard.emplace_back(name); });
  failpoint("journal", "given", "before_write");
  failpoint("message", "Go", "after_send");
  CHECK(heard == std::vector<std::string>{"journal.given.before_write", "message.Go.after_send"});
}

TEST_CASE("a wish is carried out when its point is reached for the n-th time, and once", "[failpoint]") {
  const NoFailpointsAfterwards clean;
  set_failpoints("journal.given.before_write=eio,message.Go.before_send=enospc@2", kKnown);
  CHECK(errno_at("journal", "given", "before_write") == EIO);
  CHECK(errno_at("journal", "given", "before_write") == 0);
  CHECK(errno_at("message", "Go", "before_send") == 0);
  CHECK(errno_at("message", "Go", "before_send") == ENOSPC);
  CHECK(errno_at("message", "Go", "before_send") == 0);
}

TEST_CASE("a process that stops at a point goes on when it is told to", "[failpoint]") {
  const pid_t child = ::fork();
  if (child == 0) {
    set_failpoints("message.Go.before_send=stop", kKnown);
    failpoint("message", "Go", "before_send");
    ::_exit(3);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
  CHECK(WIFSTOPPED(status));
  ::kill(child, SIGCONT);
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 3);
}

TEST_CASE("a wish that cannot be understood is refused at the start", "[failpoint]") {
  const NoFailpointsAfterwards clean;
  for (const char* wish : {"journal.given.before_write", "journal.given.before_wrote=kill", "=kill",
                           "message.Go.before_send=explode", "message.Go.before_send=kill@0",
                           "message.Go.before_send=kill@", "message.Go.before_send=", ","}) {
    INFO(wish);
    CHECK(is_usage(wish));
  }
}

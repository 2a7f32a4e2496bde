// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/error.h"

#include <cerrno>

#include "tests/catch.h"

using namespace vmigrate;

TEST_CASE("a kernel failure names the operation, the object and the cause", "[base]") {
  errno = ENOENT;
  try {
    check_syscall(-1, "open", "/srv/ct7");
    FAIL("nothing was thrown");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) == "open /srv/ct7: No such file or directory");
    CHECK(error.code().value() == ENOENT);
    CHECK(error.code_or(Errc::copy_failed) == Errc::copy_failed);
  }
}

TEST_CASE("every failure of ours has a word", "[base]") {
  for (int code = 1; code <= static_cast<int>(kErrcLast); ++code) {
    CHECK(name_of(static_cast<Errc>(code)) != "unknown");
    CHECK_FALSE(name_of(static_cast<Errc>(code)).empty());
  }
  CHECK(name_of(Errc::internal) == "internal");
  CHECK(name_of(static_cast<Errc>(9999)) == "unknown");
}

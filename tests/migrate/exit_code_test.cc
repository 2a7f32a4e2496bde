// SPDX-License-Identifier: GPL-2.0-or-later
// One exit code for each kind of end.
#include "migrate/exit_code.h"

#include <set>

#include "tests/catch.h"

using namespace vmigrate;

TEST_CASE("every failure has an exit code of its own, and none looks like success", "[migrate][exit]") {
  std::set<int> codes = {kExitDone, kExitCleanupPending, kExitSomeStayed};
  for (int errc = 1; errc <= static_cast<int>(kErrcLast); ++errc) {
    const int code = exit_code_of(static_cast<Errc>(errc));
    INFO(name_of(static_cast<Errc>(errc)) << " exits with " << code);
    CHECK(codes.insert(code).second);
    CHECK(code > 0);
    CHECK(code < 126);   // from there on it is the shell's
  }
}

TEST_CASE("the outcome decides, and only an abort asks for the reason", "[migrate][exit]") {
  CHECK(exit_code_of(Outcome::migrated, std::nullopt) == 0);
  CHECK(exit_code_of(Outcome::predicted, std::nullopt) == 0);
  CHECK(exit_code_of(Outcome::cleanup_pending, Errc::internal) == kExitCleanupPending);
  CHECK(exit_code_of(Outcome::in_doubt, Errc::in_doubt) == kExitInDoubt);
  CHECK(exit_code_of(Outcome::in_doubt, Errc::internal) == kExitInDoubt);
  CHECK(exit_code_of(Outcome::aborted, Errc::cancelled) == exit_code_of(Errc::cancelled));
  CHECK(exit_code_of(Outcome::aborted, std::nullopt) == exit_code_of(Errc::internal));
  CHECK(exit_code_of(Errc::in_doubt) == kExitInDoubt);
}

TEST_CASE("a failure that nobody knows counts as internal", "[migrate][exit]") {
  CHECK(exit_code_of(static_cast<Errc>(999)) == exit_code_of(Errc::internal));
}

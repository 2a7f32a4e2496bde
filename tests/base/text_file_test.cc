// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/text_file.h"

#include <fcntl.h>

#include <fstream>

#include "base/error.h"
#include "base/unique_fd.h"
#include "tests/catch.h"
#include "tests/support/sleeping_process.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

TEST_CASE("a text is read whole, beyond one read of the kernel's", "[base]") {
  const TestDirectory dir;
  const std::string text(100'001, 'x');
  std::ofstream(dir.path() / "text") << text;
  CHECK(read_text(dir.path() / "text") == text);
}

TEST_CASE("there is no text where there is no file", "[base]") {
  CHECK(read_text("/proc/self/no-such-file") == std::nullopt);
  CHECK(read_text("/proc/self/stat/beneath-a-file") == std::nullopt);
}

TEST_CASE("a process that ends after its file was opened has no text", "[base]") {
  SleepingProcess sleeper;
  const auto stat = "/proc/" + std::to_string(sleeper.pid()) + "/stat";
  const UniqueFd held(check_syscall(::open(stat.c_str(), O_RDONLY | O_CLOEXEC), "open", stat));
  const auto reopened = "/proc/self/fd/" + std::to_string(held.get());
  REQUIRE(read_text(reopened).has_value());
  sleeper.end();
  REQUIRE(read_text(reopened) == std::nullopt);
}

TEST_CASE("a file that cannot be read is an error with its name", "[base]") {
  CHECK_THROWS_WITH(read_text("/proc/self"), "read /proc/self: Is a directory");
}

TEST_CASE("a text longer than the limit is an error", "[base]") {
  CHECK_THROWS_WITH(read_text("/dev/zero"), "read /dev/zero: File too large");
}

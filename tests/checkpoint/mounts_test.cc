// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/mounts.h"

#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;
namespace fs = std::filesystem;

TEST_CASE("what is mounted beneath a path is seen whatever links lead there", "[checkpoint][mounts]") {
  const TestDirectory directory;
  fs::create_directory_symlink("/", directory.path() / "link");
  CHECK(is_anything_mounted_at_or_beneath("/proc"));
  CHECK(is_anything_mounted_at_or_beneath(directory.path() / "link" / "proc"));
  CHECK_FALSE(is_anything_mounted_at_or_beneath(directory.path()));
  CHECK_FALSE(is_anything_mounted_at_or_beneath(directory.path() / "missing"));
}

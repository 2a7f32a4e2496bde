// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/disk.h"

#include <csignal>
#include <fstream>

#include <sys/wait.h>
#include <unistd.h>

#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

TEST_CASE("what was left unfinished goes, what is whole or still being made stays", "[base][disk]") {
  const TestDirectory directory;
  for (const char* name : {"whole", ".left", ".being-made"}) std::ofstream(directory.path() / name) << "x";
  const auto being_made = real_disk().open(directory.path() / ".being-made");
  REQUIRE(being_made->lock());
  remove_unfinished(real_disk(), directory.path());
  CHECK(real_disk().list(directory.path()) == std::vector<std::string>{".being-made", "whole"});
}

TEST_CASE("a directory that is not there holds nothing, one that cannot be listed is an error", "[base][disk]") {
  const TestDirectory directory;
  CHECK(real_disk().list(directory.path() / "missing").empty());
  std::ofstream(directory.path() / "file") << "no directory";
  CHECK_THROWS_AS(real_disk().list(directory.path() / "file"), Error);
}

TEST_CASE("a file gives its lock back although a child that was forked meanwhile still has it open", "[base][disk]") {
  const TestDirectory directory;
  const auto path = directory.path() / "journal";
  auto file = real_disk().create(path);
  REQUIRE(file->lock());
  CHECK_FALSE(real_disk().open(path)->lock());
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) for (;;) ::pause();
  file.reset();
  CHECK(real_disk().open(path)->lock());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

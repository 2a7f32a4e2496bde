// SPDX-License-Identifier: GPL-2.0-or-later
// A directory that is gone after the test.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/error.h"

namespace vmigrate {

class TestDirectory {
 public:
  TestDirectory() {
    auto name = (std::filesystem::temp_directory_path() / "vmigrate-test.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw Error(errno, "mkdtemp", name);
    path_ = name;
  }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  ~TestDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace vmigrate

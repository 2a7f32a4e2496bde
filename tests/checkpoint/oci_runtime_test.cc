// SPDX-License-Identifier: GPL-2.0-or-later
// What is told of a runtime that fails.
#include "checkpoint/oci_runtime.h"

#include <cstdlib>
#include <fstream>

#include "tests/catch.h"
#include "tests/support/run_task.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

/// A `runc` of our own comes first in PATH, as long as this lives.
class PretendedRunc {
 public:
  explicit PretendedRunc(const std::string& body) : path_before_(std::getenv("PATH")) {
    const auto file = directory_.path() / "runc";
    std::ofstream(file) << "#!/bin/sh\n" << body << '\n';
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    ::setenv("PATH", (directory_.path().string() + ":" + path_before_).c_str(), 1);
  }
  PretendedRunc(const PretendedRunc&) = delete;
  ~PretendedRunc() { ::setenv("PATH", path_before_.c_str(), 1); }

 private:
  TestDirectory directory_;
  std::string path_before_;
};

std::string failure_of_list(ContainerRuntime& runtime) {
  try {
    run_task(runtime.list());
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a runtime that cannot list its containers is quoted with one short line", "[checkpoint]") {
  asio::thread_pool pool(1);
  const auto runtime = make_oci_runtime(pool, "runc");
  {
    const PretendedRunc runc("printf 'no \\033[1mstate\\nsecret\\n' >&2; exit 1");
    CHECK(failure_of_list(*runtime) == "`runc list` failed: no ?[1mstate");
  }
  const PretendedRunc runc("head -c 9000 /dev/zero | tr '\\0' x >&2; exit 1");
  CHECK(failure_of_list(*runtime) == "`runc list` failed: " + std::string(200, 'x'));
}

// SPDX-License-Identifier: GPL-2.0-or-later
// Less CPU time, in directories that look like cgroups of either version.
#include "checkpoint/cpu_throttle.h"

#include <fstream>

#include "base/error.h"
#include "checkpoint/cgroup_file.h"
#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

/// A cgroup of version 1 whose tasks have used `seconds` of CPU time so far.
struct OldCgroup {
  OldCgroup(const std::string& quota, const std::string& period) {
    set("cpu.cfs_quota_us", quota);
    set("cpu.cfs_period_us", period);
    use(7);
  }
  void set(const std::string& file, const std::string& text) { std::ofstream(directory.path() / file) << text << "\n"; }
  void use(double seconds) { set("cpuacct.usage", std::to_string(static_cast<std::uint64_t>(seconds * 1e9))); }
  std::string text(const std::string& file) const { return contents_of(directory.path() / file); }
  std::optional<CpuThrottle> throttle() const {
    return CpuThrottle::at(directory.path(), directory.path(), kStart);
  }

  TestDirectory directory;
};

struct NewCgroup {
  explicit NewCgroup(const std::string& max) {
    set("cpu.max", max);
    use(7);
  }
  void set(const std::string& file, const std::string& text) { std::ofstream(directory.path() / file) << text << "\n"; }
  void use(double seconds) {
    set("cpu.stat", "usage_usec " + std::to_string(static_cast<std::uint64_t>(seconds * 1e6)) + "\nuser_usec 1\n");
  }
  /// Of what is written now; the kernel's file would hold nothing else, this one keeps its old end.
  std::string max() const { return contents_of(directory.path() / "cpu.max"); }
  std::optional<CpuThrottle> throttle() const { return CpuThrottle::at(directory.path(), {}, kStart); }

  TestDirectory directory;
};

}  // namespace

TEST_CASE("a quota too short for the kernel becomes a longer period", "[checkpoint][throttle]") {
  CHECK((quota_of(1.5, 100'000) == CpuQuota{150'000, 100'000}));
  CHECK((quota_of(0.01, 100'000) == CpuQuota{1000, 100'000}));
  CHECK((quota_of(0.005, 100'000) == CpuQuota{1000, 200'000}));
  CHECK((quota_of(0.0001, 100'000) == CpuQuota{1000, 1'000'000}));
  CHECK((quota_of(0, 100'000) == CpuQuota{1000, 1'000'000}));
}

TEST_CASE("cgroup v1: it gets less than it used, not less than it might have had", "[checkpoint][throttle]") {
  OldCgroup cgroup("-1", "100000");
  auto throttle = cgroup.throttle();
  REQUIRE(throttle);
  cgroup.use(9);   // 2 s within 10 s
  throttle->hold_back(50, kStart + 10s);
  CHECK(cgroup.text("cpu.cfs_quota_us").starts_with("10000"));
  SECTION("and less of the same with each step, whatever it uses meanwhile") {
    cgroup.use(9.1);
    throttle->hold_back(75, kStart + 20s);
    CHECK(cgroup.text("cpu.cfs_quota_us").starts_with("5000"));
  }
  SECTION("and what it had when that is over") {
    throttle->let_go();
    CHECK(cgroup.text("cpu.cfs_quota_us").starts_with("-1"));
  }
  SECTION("also by going out of scope") {
    throttle.reset();
    CHECK(cgroup.text("cpu.cfs_quota_us").starts_with("-1"));
  }
  SECTION("also by somebody who comes later and has the note of it") {
    const CpuLimit limit = throttle->limit();
    put_back(limit);
    put_back(limit);
    CHECK(cgroup.text("cpu.cfs_quota_us").starts_with("-1"));
    CHECK(cgroup.text("cpu.cfs_period_us").starts_with("100000"));
  }
}

TEST_CASE("cgroup v2: the same in one file", "[checkpoint][throttle]") {
  NewCgroup cgroup("max 100000");
  auto throttle = cgroup.throttle();
  REQUIRE(throttle);
  cgroup.use(11);   // 4 s within 2 s: two CPUs
  throttle->hold_back(88, kStart + 2s);
  CHECK(cgroup.max().starts_with("24000 100000"));
  throttle->let_go();
  CHECK(cgroup.max().starts_with("max 100000"));
}

TEST_CASE("a limit that it had before is never raised", "[checkpoint][throttle]") {
  NewCgroup cgroup("20000 50000");
  auto throttle = cgroup.throttle();
  REQUIRE(throttle);
  cgroup.use(8);   // a whole CPU, by what an inexact clock says
  throttle->hold_back(50, kStart + 1s);
  CHECK(cgroup.max().starts_with("10000 50000"));
  throttle.reset();
  CHECK(cgroup.max().starts_with("20000 50000"));
}

TEST_CASE("who only measured changes nothing", "[checkpoint][throttle]") {
  NewCgroup cgroup("max 100000");
  const auto before = std::filesystem::last_write_time(cgroup.directory.path() / "cpu.max");
  cgroup.throttle().reset();
  CHECK(std::filesystem::last_write_time(cgroup.directory.path() / "cpu.max") == before);
}

TEST_CASE("a cgroup without a CPU controller cannot be throttled, and one that is gone needs nothing put back",
          "[checkpoint][throttle]") {
  const TestDirectory empty;
  CHECK_FALSE(CpuThrottle::at(empty.path(), empty.path(), kStart));
  CHECK_FALSE(CpuThrottle::at({}, {}, kStart));
  CHECK_NOTHROW(put_back({empty.path() / "gone", "max 100000", {}}));
  CHECK_THROWS_AS(put_back({empty.path(), "max 100000", {}}), Error);
}

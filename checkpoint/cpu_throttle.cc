// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/cpu_throttle.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/cgroup.h"
#include "checkpoint/cgroup_file.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kQuotaMin = 1000;         // the kernel takes no less,
constexpr std::uint64_t kPeriodMax = 1'000'000;   // and no more
constexpr std::uint64_t kPeriodDefault = 100'000;

std::string line_in(const fs::path& file) {
  std::string text = contents_of(file);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool is_v1(const CpuLimit& limit) { return !limit.period.empty(); }

std::optional<CpuLimit> read_limit(const fs::path& directory) {
  if (const std::string max = line_in(directory / "cpu.max"); !max.empty()) return CpuLimit{directory, max, {}};
  CpuLimit limit{directory, line_in(directory / "cpu.cfs_quota_us"), line_in(directory / "cpu.cfs_period_us")};
  if (limit.quota.empty() || limit.period.empty()) return std::nullopt;
  return limit;
}

/// The period, and the CPUs that the limit allows; infinitely many without one.
std::pair<std::uint64_t, double> meaning_of(const CpuLimit& limit) {
  std::istringstream words(limit.quota + " " + limit.period);
  std::string quota;
  std::uint64_t period = 0;
  words >> quota >> period;
  if (period == 0) period = kPeriodDefault;
  const bool is_limited = quota != "max" && !quota.starts_with('-');
  return {period, is_limited ? std::strtod(quota.c_str(), nullptr) / static_cast<double>(period) : HUGE_VAL};
}

}  // namespace

void put_back(const CpuLimit& limit) {
  std::error_code ignored;
  if (!fs::is_directory(limit.directory, ignored)) return;
  if (!is_v1(limit)) return write_to(limit.directory / "cpu.max", limit.quota);
  // In this order no step in between allows more than a parent does: the period was only made longer.
  write_to(limit.directory / "cpu.cfs_quota_us", limit.quota);
  write_to(limit.directory / "cpu.cfs_period_us", limit.period);
}

CpuQuota quota_of(double cpus, std::uint64_t period_us) {
  const double quota = cpus * static_cast<double>(period_us);
  if (quota >= static_cast<double>(kQuotaMin)) return {static_cast<std::uint64_t>(std::llround(quota)), period_us};
  const double period = static_cast<double>(kQuotaMin) / std::max(cpus, 1e-9);
  return {kQuotaMin, std::max(period_us, static_cast<std::uint64_t>(std::min<double>(period, kPeriodMax)))};
}

std::optional<CpuThrottle> CpuThrottle::of_container(pid_t init, TimePoint now) {
  return at(Cgroup::directory_of_container(init, "cpu"), Cgroup::directory_of_container(init, "cpuacct"), now);
}

std::optional<CpuThrottle> CpuThrottle::at(fs::path cpu, fs::path cpuacct, TimePoint now) {
  auto limit = cpu.empty() ? std::nullopt : read_limit(cpu);
  if (!limit) return std::nullopt;
  const fs::path usage = is_v1(*limit) ? cpuacct / "cpuacct.usage" : cpu / "cpu.stat";
  if (contents_of(usage).empty()) return std::nullopt;
  return CpuThrottle(std::move(*limit), usage, now);
}

CpuThrottle::CpuThrottle(CpuLimit limit, fs::path usage, TimePoint now)
    : limit_(std::move(limit)), usage_(std::move(usage)), used_before_(used()), since_(now) {}

CpuThrottle::CpuThrottle(CpuThrottle&& other) noexcept
    : limit_(std::move(other.limit_)),
      usage_(std::move(other.usage_)),
      used_before_(other.used_before_),
      since_(other.since_),
      cpus_used_(other.cpus_used_),
      is_holding_(std::exchange(other.is_holding_, false)) {}

CpuThrottle::~CpuThrottle() {
  try {
    let_go();
  } catch (const std::exception& failure) {
    log(LogLevel::error, "cgroup=" + limit_.directory.native() + " event=left_throttled reason=" + failure.what());
  }
}

void CpuThrottle::hold_back(unsigned percent, TimePoint now) {
  MIGRATE_ASSERT(percent <= 99);
  const double elapsed = std::chrono::duration<double>(now - since_).count();
  if (!cpus_used_)
    cpus_used_ = std::chrono::duration<double>(used() - used_before_).count() / std::max(elapsed, 1e-3);
  const auto [period, cpus_allowed] = meaning_of(limit_);
  const double cpus = std::min(*cpus_used_, cpus_allowed) * (100 - percent) / 100;
  is_holding_ = true;   // also if only one of two files can be written
  write(quota_of(cpus, period));
}

void CpuThrottle::let_go() {
  if (!is_holding_) return;
  put_back(limit_);
  is_holding_ = false;
}

/// By all of its tasks, since the cgroup was made.
Duration CpuThrottle::used() const {
  std::istringstream text(contents_of(usage_));
  std::uint64_t value = 0;
  if (is_v1(limit_)) {
    text >> value;
    return std::chrono::nanoseconds(value);
  }
  for (std::string key; text >> key >> value;)
    if (key == "usage_usec") return std::chrono::microseconds(value);
  return {};
}

void CpuThrottle::write(const CpuQuota& quota) const {
  const std::string quota_us = std::to_string(quota.quota_us), period_us = std::to_string(quota.period_us);
  if (!is_v1(limit_)) return write_to(limit_.directory / "cpu.max", quota_us + " " + period_us);
  write_to(limit_.directory / "cpu.cfs_period_us", period_us);
  write_to(limit_.directory / "cpu.cfs_quota_us", quota_us);
}

}  // namespace vmigrate

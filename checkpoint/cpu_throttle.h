// SPDX-License-Identifier: GPL-2.0-or-later
// Less CPU time for a container that writes faster than a link carries. Whatever makes a container write costs it CPU
// time, so this holds back every kind of write; a limit of bytes would need another rule for each kind of file and
// version of cgroups.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/clock.h"

namespace vmigrate {

/// What the files of a cgroup said of its CPU time before it was throttled, to be put back whatever happens.
struct CpuLimit {
  std::filesystem::path directory;
  std::string quota;    ///< v1: cpu.cfs_quota_us; v2: cpu.max, which has both
  std::string period;   ///< v1: cpu.cfs_period_us; v2: empty
};

/// As it was. Idempotent; nothing to do for a cgroup that is gone. Throws Error.
void put_back(const CpuLimit& limit);

/// So much CPU time in each period, in microseconds.
struct CpuQuota {
  std::uint64_t quota_us = 0;
  std::uint64_t period_us = 0;
  bool operator==(const CpuQuota&) const = default;
};
/// What comes nearest to `cpus`, a part of one or several, in periods of `period_us`: longer ones only where the kernel
/// would find the quota too short.
CpuQuota quota_of(double cpus, std::uint64_t period_us);

/// Holds back one container. Goes out of scope as put_back(), logging what fails.
class CpuThrottle {
 public:
  /// Changes nothing, but begins to measure. Nothing if no cgroup holds the CPU time of `init`.
  static std::optional<CpuThrottle> of_container(pid_t init, TimePoint now);
  /// The cgroup's directories in the hierarchies of cpu and cpuacct; in v2 they are one. Nothing if files are missing.
  static std::optional<CpuThrottle> at(std::filesystem::path cpu, std::filesystem::path cpuacct, TimePoint now);
  CpuThrottle(CpuThrottle&& other) noexcept;
  CpuThrottle& operator=(CpuThrottle&&) = delete;
  ~CpuThrottle();

  const CpuLimit& limit() const { return limit_; }
  /// From now on it gets `percent` less than it used on average before the first call, at most 99. Throws Error.
  void hold_back(unsigned percent, TimePoint now);
  /// put_back(). Throws Error.
  void let_go();

 private:
  CpuThrottle(CpuLimit limit, std::filesystem::path usage, TimePoint now);
  Duration used() const;
  void write(const CpuQuota& quota) const;

  CpuLimit limit_;
  std::filesystem::path usage_;   ///< the file that says what was used
  Duration used_before_{};
  TimePoint since_;
  std::optional<double> cpus_used_;
  bool is_holding_ = false;
};

}  // namespace vmigrate

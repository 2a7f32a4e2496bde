// SPDX-License-Identifier: GPL-2.0-or-later
// The one source of chance of a simulated run.
#pragma once

#include <cstdint>
#include <span>

#include "base/clock.h"

namespace vmigrate::sim {

/// splitmix64: the same numbers for the same seed, everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// 0 … limit - 1.
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }
  bool chance(unsigned percent) { return below(100) < percent; }
  Duration between(Duration least, Duration most) {
    return least + Duration(static_cast<Duration::rep>(below(static_cast<std::uint64_t>((most - least).count()) + 1)));
  }
  template <typename Range>
  const auto& pick(const Range& range) {
    return *(std::begin(range) + static_cast<std::ptrdiff_t>(below(std::size(range))));
  }

 private:
  std::uint64_t state_;
};

}  // namespace vmigrate::sim

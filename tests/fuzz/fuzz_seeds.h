// SPDX-License-Identifier: GPL-2.0-or-later
// What a fuzzer begins with: good inputs of every target, and good ones cut short.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace vmigrate::fuzz {

struct Seed {
  std::string target;
  std::string name;
  std::vector<std::byte> bytes;
};

std::vector<Seed> all_seeds();

}  // namespace vmigrate::fuzz

// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace vmigrate::detail {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
  std::abort();
}

}  // namespace vmigrate::detail

// SPDX-License-Identifier: GPL-2.0-or-later
// Assertions about ourselves, on in every build. What a peer or the kernel does wrong is an Error, never an assertion.
#pragma once

namespace vmigrate::detail {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;
}

/// Aborts with file, line and expression when `expression` is false: the program itself is wrong.
#define MIGRATE_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::vmigrate::detail::assertion_failed(#expression, __FILE__, __LINE__))

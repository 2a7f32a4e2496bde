// SPDX-License-Identifier: GPL-2.0-or-later
// What libbpf says about a failure, which is more than its number.
#pragma once

#include <string>

namespace vmigrate {

/// From now on its warnings are kept, the last one of each thread, and not printed.
void listen_to_libbpf();
/// Throws Error(Errc::tracker_unavailable): `what`, the number's meaning, and the last warning.
[[noreturn]] void throw_unavailable(const std::string& what, int saved_errno);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// What must never be, and what must always stay possible.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "tests/model/world.h"

namespace vmigrate::model {

enum class Violation {
  two_run,
  stale_copy_runs,     ///< a write that was acknowledged is lost
  source_runs_again,   ///< after the destination had run, and without having been given it again
  no_copy_left,        ///< of the latest generation
  runs_unrecorded,     ///< a container runs on a host whose journal does not say so
  no_such_row,         ///< a session met an event for which its table has no row
  stuck,               ///< it cannot come to an end any more, even if nothing fails from now on
};
inline constexpr int kViolations = 7;
std::string_view name_of(Violation violation) noexcept;

/// The worst thing that is wrong with `world` by itself; `stuck` is not seen from one world.
std::optional<Violation> violation_in(const World& world);

/// Exactly one runs, every session has ended, and nothing is left to be tidied up.
bool is_settled(const World& world);

}  // namespace vmigrate::model

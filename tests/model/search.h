// SPDX-License-Identifier: GPL-2.0-or-later
// Breadth first through every world that the rules reach: what is found first is found by the fewest steps.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/model/properties.h"
#include "tests/model/rules.h"
#include "tests/model/world_set.h"

namespace vmigrate::model {

/// The steps from the beginning to some world.
struct Trace {
  std::vector<Step> steps;

  /// One numbered line for each step.
  std::string text() const;
};

struct Findings {
  std::size_t states = 0;
  std::size_t transitions = 0;
  std::size_t depth = 0;     ///< steps to the state that is farthest from the beginning
  std::array<std::size_t, kViolations> violations{};   ///< states for each; the worst counts
  Trace first_violation;     ///< empty if there is none
  Coverage coverage;

  std::size_t violations_of(Violation violation) const { return violations[static_cast<std::size_t>(violation)]; }
  std::size_t violations_in_all() const;
};

/// Through all states. One from which no settled state can be reached by assured steps is Violation::stuck.
Findings explore(const Rules& rules);

/// To the nearest world that is as wanted; nothing if there is none.
std::optional<Trace> shortest_way_to(const std::function<bool(const World&)>& is_wanted, const Rules& rules);

}  // namespace vmigrate::model

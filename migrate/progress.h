// SPDX-License-Identifier: GPL-2.0-or-later
// Where a session's events go: to the operator's terminal, or over a channel to him.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace vmigrate {

/// Takes one event at a time and never blocks, throws or suspends: nobody's slow terminal holds up a migration.
/// Every event has a field "event": state, round, remark, or report (the last).
class Progress {
 public:
  virtual ~Progress() = default;
  virtual void report(const nlohmann::json& event) noexcept = 0;
};

class NoProgress final : public Progress {
 public:
  void report(const nlohmann::json&) noexcept override {}
};

}  // namespace vmigrate

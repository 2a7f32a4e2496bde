// SPDX-License-Identifier: GPL-2.0-or-later
// What the operator sees: one line per round and phase, or one JSON event per line.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "migrate/progress.h"

namespace vmigrate {

/// One event per line, as JSON, on stdout.
class JsonPrinter final : public Progress {
 public:
  explicit JsonPrinter(std::ostream& out) : out_(out) {}
  void report(const nlohmann::json& event) noexcept override;

 private:
  std::ostream& out_;
};

/// Lines for people.
class TextPrinter final : public Progress {
 public:
  explicit TextPrinter(std::ostream& out) : out_(out) {}
  void report(const nlohmann::json& event) noexcept override;

 private:
  std::ostream& out_;
};

/// One event as a line for people; empty for events that say nothing to them. Total: an event of any shape gives a line
/// or none.
std::string line_of(const nlohmann::json& event);
/// The end of the story, several lines.
std::string summary_of(const nlohmann::json& report);

}  // namespace vmigrate

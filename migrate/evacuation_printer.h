// SPDX-License-Identifier: GPL-2.0-or-later
// What the operator of `vmigrate --all` sees: lines that begin with the container they are about, and one table.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "migrate/progress.h"

namespace vmigrate {

class EvacuationPrinter final : public Progress {
 public:
  explicit EvacuationPrinter(std::ostream& out) : out_(out) {}
  void report(const nlohmann::json& event) noexcept override;

 private:
  std::ostream& out_;
};

/// The end of the story of all of them, several lines. Total: a summary of any shape gives some.
std::string evacuation_table(const nlohmann::json& summary);

}  // namespace vmigrate

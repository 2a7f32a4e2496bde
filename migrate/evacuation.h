// SPDX-License-Identifier: GPL-2.0-or-later
// All containers of a host leave it: who goes when, and one summary.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "migrate/cancellation.h"
#include "migrate/inventory.h"
#include "migrate/progress.h"

namespace vmigrate {

/// More connections at once from one host would be shown out (docs/protocol.md, "Who is let wait").
inline constexpr std::uint32_t kParallelMax = 8;

/// In which order, and how many at once.
struct EvacuationPlan {
  std::vector<std::string> first;   ///< these go before all others, in this order
  std::uint32_t parallel = 3;
};

/// The containers to move, in the plan's order: first those that it names, then by name. Throws
/// Error(Errc::unknown_container) if it names one that is not there.
std::deque<std::string> in_order(const Inventory& inventory, const EvacuationPlan& plan);

/// Moves what can be moved, some at once. What fails stays where it is and stops nobody else. A cancellation is passed
/// on to those under way, and nobody starts after it. In the end it looks who is left: containers end by themselves
/// while they wait for their turn, and others are started. On one executor; lives until run() has ended.
class Evacuation {
 public:
  struct Parts {
    /// Moves one container and returns its report. Throws nothing.
    std::function<Task<nlohmann::json>(std::string container, Progress& progress, Cancellation& cancellation)> move;
    /// Who is there when all have had their turn. May throw.
    std::function<Task<Inventory>()> look_again;
    Clock& clock;
    Progress& progress;           ///< sees every event with its container's name in it
    Cancellation& cancellation;   ///< of everything
  };
  Evacuation(Parts parts, const Inventory& inventory, const EvacuationPlan& plan);
  Evacuation(const Evacuation&) = delete;

  /// Returns the summary of docs/protocol.md.
  Task<nlohmann::json> run();

 private:
  class UnderWay;

  Task<> move_one_after_the_other();
  Task<> move(std::string container);
  void pass_on_cancellation() const;
  Task<> compare_with_the_source();
  void compare_with(const Inventory& now);
  nlohmann::json summary() const;

  Parts parts_;
  std::deque<std::string> waiting_;
  std::uint64_t hidden_;
  std::uint32_t parallel_;
  std::map<std::string, nlohmann::json> rows_;   ///< of the summary, one for each container
  std::set<Cancellation*> under_way_;
  std::uint32_t movers_ = 0;
  TimePoint started_{};
  TimePoint ended_{};
  std::optional<Failure> blindness_;   ///< why nobody knows who is left
};

/// What became of all of them together.
enum class EvacuationResult { evacuated, predicted, some_stayed, cancelled, in_doubt, failed };
std::string_view name_of(EvacuationResult result) noexcept;
/// Of a host of which nothing is known but why it was not evacuated.
nlohmann::json failed_evacuation(const Failure& failure);
/// The command's exit code.
int exit_code_of_evacuation(const nlohmann::json& summary);

}  // namespace vmigrate

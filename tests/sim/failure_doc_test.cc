// SPDX-License-Identifier: GPL-2.0-or-later
// docs/failure.md is the table: every cell is a run of the simulator in which exactly that happens.
#include "base/log.h"
#include "tests/docs/source_tree.h"
#include "tests/sim/world.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;
using namespace vmigrate::sim;
using namespace std::chrono_literals;

namespace {

constexpr const char* kFile = "docs/failure.md";
const std::vector<std::string> kHeader = {"when", "point", "reached by"};

/// The columns behind kHeader.
enum class Column { source_power, source_agent, destination_power, destination_agent, network, failure };
constexpr int kColumns = 6;

Fault fault_of(Column column, const std::string& point, HostName reached_by) {
  Fault fault;
  fault.point = point;
  const auto strikes = [&](HostName victim) { fault.strikes_other = victim != reached_by; };
  switch (column) {
    case Column::source_power:
    case Column::destination_power:
      fault.deed = Deed::power;
      fault.lasts = 30s;
      strikes(column == Column::source_power ? HostName::alpha : HostName::beta);
      break;
    case Column::source_agent:
    case Column::destination_agent:
      fault.deed = Deed::kill;
      fault.lasts = 5s;
      strikes(column == Column::source_agent ? HostName::alpha : HostName::beta);
      break;
    case Column::network:
      fault.deed = Deed::dark;
      fault.persists = true;
      break;
    case Column::failure:
      fault.deed = Deed::eio;
      break;
  }
  return fault;
}

Plan plan_with(Fault fault) {
  Plan plan;
  plan.options.streams = 1;
  plan.latency = 1ms;
  plan.bytes_per_second = 100'000'000;
  plan.write_every = 3ms;
  plan.heals_after = 90s;
  plan.faults = {std::move(fault)};
  return plan;
}

/// "A", "C", "CB on S", "W, then C" …; how docs/failure.md explains them.
std::string outcome_of(const Fault& fault, const std::filesystem::path& directory) {
  World world(plan_with(fault), Random(1), directory);
  world.record_story();
  const Result result = world.run();
  std::string story;
  for (const auto& line : world.story()) story += "\n" + line;
  INFO(text_of(fault) << story);
  CHECK(world.violation().empty());
  CHECK(result.deeds[static_cast<std::size_t>(fault.deed)] == 1);
  if (result.ending == Ending::started_from_disk) return std::string("CB on ") + (world.is_on_source() ? "S" : "D");
  const bool has_waited = world.has_healed() && !world.runner_before_healing();
  return std::string(has_waited ? "W, then " : "") + (result.ending == Ending::aborted ? "A" : "C");
}

}  // namespace

TEST_CASE("whatever happens, it ends as docs/failure.md says", "[docs][sim]") {
  set_log_level(LogLevel::none);
  const TestDirectory directory;
  const auto rows = tree::rows_under(kFile, kHeader);
  REQUIRE_FALSE(rows.empty());
  std::vector<std::string> findings;
  for (const auto& row : rows) {
    REQUIRE(row.cells.size() == kHeader.size() + kColumns);
    const std::string point = tree::code_spans_of(row.cells[1]).at(0);
    const HostName reached_by = row.cells[2] == "S" ? HostName::alpha : HostName::beta;
    for (int i = 0; i < kColumns; ++i) {
      const std::string& documented = row.cells[kHeader.size() + static_cast<std::size_t>(i)];
      if (documented.empty()) continue;
      const std::string outcome = outcome_of(fault_of(static_cast<Column>(i), point, reached_by), directory.path());
      if (outcome != documented)
        findings.push_back(row.line.where() + ": column " + std::to_string(i + 1) + " says \"" + documented +
                           "\", but it ends in \"" + outcome + "\"");
    }
  }
  tree::check_none(findings);
}

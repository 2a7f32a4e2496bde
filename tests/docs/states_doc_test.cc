// SPDX-License-Identifier: GPL-2.0-or-later
// docs/states.md is the table: its rows, its states and its picture are compared with migrate/session_state.h.
#include <map>
#include <set>

#include "migrate/session_state.h"
#include "migrate/states_diagram.h"
#include "tests/docs/source_tree.h"

using namespace vmigrate;

namespace {

constexpr const char* kFile = "docs/states.md";

/// "copying + converged -> freezing"
std::string step(std::string_view from, std::string_view event, std::string_view to) {
  return std::string(from) + " + " + std::string(event) + " -> " + std::string(to);
}

/// The lines between one heading and the next.
std::vector<tree::Row> rows_of_section(const std::string& heading, const std::vector<std::string>& header) {
  int begin = 0;
  int end = INT32_MAX;
  for (const auto& line : tree::lines_of(kFile)) {
    if (line.text == heading) begin = line.number;
    if (begin > 0 && line.number > begin && line.text.starts_with("#")) end = std::min(end, line.number);
  }
  INFO(kFile << " has no heading " << heading);
  REQUIRE(begin > 0);
  auto rows = tree::rows_under(kFile, header);
  std::erase_if(rows, [&](const tree::Row& row) { return row.line.number < begin || row.line.number > end; });
  return rows;
}

template <typename Table>
void compare_steps(const std::string& heading, const Table& table) {
  std::set<std::string> in_code;
  for (const auto& row : table) in_code.insert(step(name_of(row.from), name_of(row.event), name_of(row.to)));
  std::set<std::string> in_document;
  std::vector<std::string> findings;
  for (const auto& row : rows_of_section(heading, {"from", "event", "to"})) {
    const std::string text = row.cells.size() < 3 ? "?" : step(row.cells[0], row.cells[1], row.cells[2]);
    if (!in_document.insert(text).second) findings.push_back(row.line.where() + ": twice: " + text);
    if (!in_code.contains(text))
      findings.push_back(row.line.where() + ": not in migrate/session_state.h: " + text);
  }
  for (const auto& text : in_code)
    if (!in_document.contains(text))
      findings.push_back(std::string(kFile) + " under \"" + heading + "\" lacks: " + text);
  tree::check_none(findings);
}

template <typename Table>
void compare_states(const std::string& heading, const Table& table) {
  std::set<std::string> in_code;
  for (const auto& row : table) in_code.insert({std::string(name_of(row.from)), std::string(name_of(row.to))});
  std::set<std::string> in_document;
  std::vector<std::string> findings;
  for (const auto& row : rows_of_section(heading, {"state", "meaning"})) {
    in_document.insert(row.cells[0]);
    if (!in_code.contains(row.cells[0])) findings.push_back(row.line.where() + ": no such state: " + row.cells[0]);
    if (row.cells.size() < 2 || row.cells[1].empty())
      findings.push_back(row.line.where() + ": a state without a meaning");
  }
  for (const auto& state : in_code)
    if (!in_document.contains(state))
      findings.push_back(std::string(kFile) + " under \"" + heading + "\" lacks: " + state);
  tree::check_none(findings);
}

}  // namespace

TEST_CASE("docs/states.md has the source's transitions, all and no others", "[docs]") {
  compare_steps("### The source's transitions", kSourceTransitions);
}

TEST_CASE("docs/states.md has the destination's transitions, all and no others", "[docs]") {
  compare_steps("### The destination's transitions", kDestinationTransitions);
}

TEST_CASE("docs/states.md says what each state means", "[docs]") {
  compare_states("## Source", kSourceTransitions);
  compare_states("## Destination", kDestinationTransitions);
}

TEST_CASE("the picture in docs/states.md is the one that vmigrate states prints", "[docs]") {
  const std::string drawn = tree::fenced_block(kFile, "mermaid", "stateDiagram-v2");
  INFO("in " << kFile << "; print it anew with: vmigrate states");
  CHECK(drawn == states_diagram());
}

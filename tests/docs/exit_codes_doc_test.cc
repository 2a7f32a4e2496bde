// SPDX-License-Identifier: GPL-2.0-or-later
// docs/exit-codes.md lists every exit code of migrate/exit_code.h, and no other.
#include <map>

#include "migrate/exit_code.h"
#include "tests/docs/source_tree.h"

using namespace vmigrate;

namespace {

constexpr const char* kFile = "docs/exit-codes.md";

std::map<int, std::string> codes() {
  std::map<int, std::string> names;
  for (const auto& row : kExitCodes) names[row.code] = name_of(row.errc);
  return names;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

std::string without_ticks(std::string text) {
  std::erase(text, '`');
  return text;
}

}  // namespace

TEST_CASE("docs/exit-codes.md lists every exit code, and no other", "[docs]") {
  if (!tree::fs::exists(tree::root() / kFile)) {
    WARN("SKIPPED: there is no " << kFile << " yet");
    return;
  }
  auto missing = codes();
  std::map<int, std::string> known = missing;
  std::vector<std::string> findings;
  for (const auto& line : tree::lines_of(kFile)) {
    if (!line.text.starts_with("|")) continue;
    const auto cells = tree::cells_of(line.text);
    if (!is_number(without_ticks(cells[0]))) continue;
    const int code = std::stoi(without_ticks(cells[0]));
    missing.erase(code);
    const bool is_failure = code != kExitDone && code != kExitCleanupPending && code != kExitSomeStayed;
    if (!is_failure) continue;   // it has no Errc
    if (!known.contains(code))
      findings.push_back(line.where() + ": no exit code " + std::to_string(code) + " in migrate/exit_code.h");
    else if (!tree::has_word(line.text, known[code]))
      findings.push_back(line.where() + ": exit code " + std::to_string(code) + " is " + known[code]);
  }
  for (const auto& [code, name] : missing)
    findings.push_back(std::string(kFile) + ": lacks " + std::to_string(code) + " " + name);
  tree::check_none(findings);
}

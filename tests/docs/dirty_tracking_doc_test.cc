// SPDX-License-Identifier: GPL-2.0-or-later
// docs/dirty-tracking.md argues with sources and tests: they exist.
#include "tests/docs/source_tree.h"

using namespace vmigrate;

namespace {

constexpr const char* kFile = "docs/dirty-tracking.md";

/// Every name of a test case in the tree: the first string of TEST_CASE and SECTION.
std::string all_tests() {
  std::string text;
  for (const auto& file : tree::files_below("tests"))
    if (tree::is_cpp(file)) text += tree::text_of(file);
  return text;
}

}  // namespace

TEST_CASE("every test that docs/dirty-tracking.md names exists", "[docs]") {
  const std::string tests = all_tests();
  std::vector<std::string> findings;
  std::size_t named = 0;
  std::string paragraph;
  for (const auto& line : tree::lines_of(kFile)) {
    // A name may run over the end of a line, so quotes are looked for in the paragraph up to here.
    paragraph = line.text.empty() ? "" : paragraph + (paragraph.empty() ? "" : " ") + tree::trimmed(line.text);
    for (auto open = paragraph.find('"'); open != std::string::npos; open = paragraph.find('"')) {
      const auto close = paragraph.find('"', open + 1);
      if (close == std::string::npos) break;
      const std::string name = paragraph.substr(open + 1, close - open - 1);
      paragraph.erase(0, close + 1);
      ++named;
      if (tests.find('"' + name + '"') == std::string::npos)
        findings.push_back(line.where() + ": no test \"" + name + "\"");
    }
  }
  tree::check_none(findings);
  CHECK(named >= 10);
}

TEST_CASE("every function that docs/dirty-tracking.md names after a file is in it", "[docs]") {
  std::vector<std::string> findings;
  for (const auto& line : tree::lines_of(kFile)) {
    // "`engine/tracker/x.cc`, name_of_function."
    const auto close = line.text.find("`, ");
    if (close == std::string::npos) continue;
    const auto open = line.text.rfind('`', close - 1);
    const std::string file = line.text.substr(open + 1, close - open - 1);
    const auto end = line.text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789", close + 3);
    const std::string name = line.text.substr(close + 3, end - close - 3);
    if (name.find('_') == std::string::npos || !tree::fs::exists(tree::root() / file)) continue;
    if (!tree::has_word(tree::text_of(file), name)) findings.push_back(line.where() + ": no " + name + " in " + file);
  }
  tree::check_none(findings);
}

// SPDX-License-Identifier: GPL-2.0-or-later
// docs/dirty-tracking.md argues with sources and tests: they exist.
#include <regex>

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

/// What can only be a name of the code: words_with_underscores and CamelCase. Paths are not names.
std::vector<std::string> names_in(const std::string& text) {
  static const std::regex kName(R"((^|[^\w/.])(([a-z]+_[a-z_]+)|([A-Z][a-z]+[A-Z]\w+))(?![\w/.]*/|\.\w))");
  std::vector<std::string> names;
  for (std::sregex_iterator match(text.begin(), text.end(), kName), end; match != end; ++match)
    names.push_back((*match)[2]);
  return names;
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

TEST_CASE("every name of the code that docs/dirty-tracking.md uses is in the tracker or its tests", "[docs]") {
  std::string code;
  for (const char* folder : {"engine", "tests/tracker", "tests/contract"})
    for (const auto& file : tree::files_below(folder)) code += tree::text_of(file);
  std::vector<std::string> findings;
  std::size_t named = 0;
  for (const auto& line : tree::lines_of(kFile))
    for (const std::string& name : names_in(line.text)) {
      ++named;
      if (!tree::has_word(code, name)) findings.push_back(line.where() + ": no " + name + " below engine");
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

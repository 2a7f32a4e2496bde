// SPDX-License-Identifier: GPL-2.0-or-later
// What the documents point at exists: files, functions of the walks, scripts of the README.
#include <set>

#include "tests/docs/source_tree.h"

using namespace vmigrate;

namespace {

std::vector<std::string> documents() {
  std::vector<std::string> files;
  for (const auto& file : tree::files_below("docs"))
    if (file.ends_with(".md")) files.push_back(file);
  for (const char* file : {"README.md", "CONTRIBUTING.md"})
    if (tree::fs::exists(tree::root() / file)) files.emplace_back(file);
  return files;
}

/// The targets of [text](target) that are paths.
std::vector<std::string> link_targets_of(const std::string& text) {
  std::vector<std::string> targets;
  for (auto at = text.find("]("); at != std::string::npos; at = text.find("](", at + 1)) {
    std::string target = text.substr(at + 2, text.find(')', at) - at - 2);
    target = target.substr(0, target.find('#'));
    if (!target.empty() && target.find("://") == std::string::npos) targets.push_back(target);
  }
  return targets;
}

/// "engine/volume.h" is a path of ours; "io_context(1)" and "/etc/vmigrate" are not.
bool is_path_of_ours(const std::string& span) {
  static const std::set<std::string> kTop = {"base",  "engine", "checkpoint", "transport", "migrate",
                                             "bench", "tests",  "docs",       "scripts",   "packaging"};
  const auto slash = span.find('/');
  const bool is_plain = span.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-") ==
                        std::string::npos;
  return slash != std::string::npos && is_plain && kTop.contains(span.substr(0, slash));
}

bool is_in_tree(const tree::fs::path& path) { return tree::fs::exists(tree::root() / path); }

/// The words of a line that name a file of ours, in backticks or not: "engine/volume.h".
std::vector<std::string> files_named_in(const std::string& text) {
  std::vector<std::string> files;
  std::string word;
  for (const char c : text + " ") {
    const bool is_part =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("_-./").find(c) != std::string_view::npos;
    if (is_part) word += c;
    if (is_part || word.empty()) continue;
    while (!word.empty() && word.back() == '.') word.pop_back();
    const bool has_extension = word.find('.', word.rfind('/') + 1) != std::string::npos;
    if (is_path_of_ours(word) && has_extension) files.push_back(word);
    word.clear();
  }
  return files;
}

/// The file of "[engine/volume.h](../engine/volume.h)".
std::string text_of_link(const std::string& cell) {
  const auto open = cell.find('[');
  return open == std::string::npos ? cell : cell.substr(open + 1, cell.find(']') - open - 1);
}

}  // namespace

TEST_CASE("every link in the documents leads to a file", "[docs]") {
  std::vector<std::string> findings;
  for (const auto& file : documents())
    for (const auto& line : tree::lines_of(file))
      for (const auto& target : link_targets_of(line.text))
        if (!is_in_tree(tree::fs::path(file).parent_path() / target)) findings.push_back(line.where() + ": " + target);
  tree::check_none(findings);
}

TEST_CASE("every file that the documents mention exists", "[docs]") {
  std::vector<std::string> findings;
  for (const auto& file : documents())
    for (const auto& line : tree::lines_of(file))
      for (const auto& name : files_named_in(line.text))
        if (!is_in_tree(name)) findings.push_back(line.where() + ": " + name);
  tree::check_none(findings);
}

TEST_CASE("every function of the walks is in the file named beside it", "[docs]") {
  std::vector<std::string> findings;
  std::size_t functions = 0;
  for (const auto& row : tree::rows_under("docs/architecture.md", {"#", "where", "function"})) {
    const std::string file = text_of_link(row.cells.at(1));
    if (!is_in_tree(file)) {
      findings.push_back(row.line.where() + ": no file " + file);
      continue;
    }
    const std::string source = tree::text_of(file);
    for (const auto& function : tree::code_spans_of(row.cells.at(2))) {
      ++functions;
      if (!tree::has_word(source, function)) findings.push_back(row.line.where() + ": no " + function + " in " + file);
    }
  }
  tree::check_none(findings);
  CHECK(functions >= 20);
}

TEST_CASE("the interfaces that docs/architecture.md explains are there", "[docs]") {
  std::string headers;
  for (const char* folder : {"base", "engine", "checkpoint", "transport", "migrate"})
    for (const auto& file : tree::files_below(folder))
      if (file.ends_with(".h")) headers += tree::text_of(file);
  std::vector<std::string> findings;
  for (const auto& row : tree::rows_under("docs/architecture.md", {"interface", "implementations"}))
    for (const auto& name : tree::code_spans_of(row.cells.at(0)))
      if (headers.find("class " + name + " ") == std::string::npos)
        findings.push_back(row.line.where() + ": no class " + name);
  tree::check_none(findings);
}

TEST_CASE("the README says how to try it and how to test it", "[docs]") {
  if (!is_in_tree("README.md")) {
    WARN("SKIPPED: there is no README.md yet");
    return;
  }
  const std::string text = tree::text_of("README.md");
  for (const char* script : {"scripts/demo", "scripts/test"}) {
    INFO("README.md:1: names no " << script);
    CHECK(text.find(script) != std::string::npos);
    CHECK(is_in_tree(script));
  }
}

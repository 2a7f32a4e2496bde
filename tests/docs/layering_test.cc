// SPDX-License-Identifier: GPL-2.0-or-later
// The arrows between the folders: what the sources include is what docs/architecture.md draws.
#include <map>
#include <set>

#include "tests/docs/source_tree.h"

using namespace vmigrate;

namespace {

const std::vector<std::string> kFolders = {"base", "engine", "checkpoint", "transport", "migrate", "bench"};

std::string folder_of(const std::string& path) { return path.substr(0, path.find('/')); }

/// The path of an #include "…"; empty for any other line.
std::string included_by(const tree::Line& line) {
  constexpr std::string_view kBegin = "#include \"";
  const auto text = tree::trimmed(line.text);
  if (!text.starts_with(kBegin)) return {};
  return text.substr(kBegin.size(), text.find('"', kBegin.size()) - kBegin.size());
}

using Arrow = std::pair<std::string, std::string>;

/// Each arrow that the sources draw, with the first line that does.
std::map<Arrow, tree::Line> drawn_arrows() {
  std::map<Arrow, tree::Line> arrows;
  for (const auto& folder : kFolders)
    for (const auto& file : tree::files_below(folder))
      if (tree::is_cpp(file))
        for (const auto& line : tree::lines_of(file)) {
          const std::string path = included_by(line);
          // Without a folder it is a neighbour's, or generated beside it.
          if (path.find('/') != std::string::npos && folder_of(path) != folder)
            arrows.emplace(Arrow{folder, folder_of(path)}, line);
        }
  return arrows;
}

std::map<Arrow, tree::Line> documented_arrows() {
  std::map<Arrow, tree::Line> arrows;
  for (const auto& row : tree::rows_under("docs/architecture.md", {"from", "to"}))
    arrows.emplace(Arrow{row.cells.at(0), row.cells.at(1)}, row.line);
  return arrows;
}

}  // namespace

TEST_CASE("every include follows an arrow of docs/architecture.md", "[docs]") {
  const auto documented = documented_arrows();
  REQUIRE_FALSE(documented.empty());
  std::vector<std::string> findings;
  for (const auto& [arrow, line] : drawn_arrows())
    if (!documented.contains(arrow))
      findings.push_back(line.where() + ": " + arrow.first + " must not include from " + arrow.second + ": " +
                         line.text);
  tree::check_none(findings);
}

TEST_CASE("every arrow of docs/architecture.md is drawn by some include", "[docs]") {
  const auto drawn = drawn_arrows();
  std::vector<std::string> findings;
  for (const auto& [arrow, line] : documented_arrows())
    if (!drawn.contains(arrow))
      findings.push_back(line.where() + ": nothing in " + arrow.first + " includes from " + arrow.second);
  tree::check_none(findings);
}

TEST_CASE("every include names a file of the tree", "[docs]") {
  std::vector<std::string> findings;
  for (const auto& folder : kFolders)
    for (const auto& file : tree::files_below(folder))
      if (tree::is_cpp(file))
        for (const auto& line : tree::lines_of(file)) {
          const std::string path = included_by(line);
          const auto beside = tree::fs::path(file).parent_path() / path;
          const bool is_there = tree::fs::exists(tree::root() / path) || tree::fs::exists(tree::root() / beside);
          if (!path.empty() && !is_there && !path.ends_with(".skel.h"))
            findings.push_back(line.where() + ": " + line.text);
        }
  tree::check_none(findings);
}

// SPDX-License-Identifier: GPL-2.0-or-later
// The source tree as text: what the tests of documentation and tidiness read. Every line knows where it stands.
#pragma once

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/catch.h"

namespace vmigrate::tree {

namespace fs = std::filesystem;

inline fs::path root() { return VMIGRATE_SOURCE_DIR; }

struct Line {
  std::string file;   ///< relative to the root
  int number = 0;
  std::string text;

  /// "docs/states.md:12", as editors understand it.
  std::string where() const { return file + ":" + std::to_string(number); }
};

inline std::vector<Line> lines_of(const std::string& file) {
  std::ifstream in(root() / file);
  if (!in) throw std::runtime_error(file + " cannot be read");
  std::vector<Line> lines;
  for (std::string text; std::getline(in, text);) lines.push_back({file, static_cast<int>(lines.size()) + 1, text});
  return lines;
}

inline std::string text_of(const std::string& file) {
  std::ifstream in(root() / file);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Every regular file below `folder` ("" is the whole tree), sorted; hidden and build directories left out.
inline std::vector<std::string> files_below(const std::string& folder) {
  std::vector<std::string> files;
  if (!fs::exists(root() / folder)) return files;
  for (auto it = fs::recursive_directory_iterator(root() / folder); it != fs::recursive_directory_iterator(); ++it) {
    const std::string name = it->path().filename().string();
    const bool is_skipped = name.starts_with('.') || name.starts_with("build") || name == "__pycache__";
    if (it->is_directory() && is_skipped) it.disable_recursion_pending();
    if (it->is_regular_file() && !is_skipped) files.push_back(fs::relative(it->path(), root()).string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

inline bool is_cpp(const std::string& file) {
  return file.ends_with(".cc") || file.ends_with(".h") || file.ends_with(".c");
}

inline std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/// One row of a Markdown table.
struct Row {
  Line line;
  std::vector<std::string> cells;
};

/// "| a | b |" is {a, b}.
inline std::vector<std::string> cells_of(const std::string& row) {
  std::vector<std::string> cells;
  std::istringstream in(row.substr(1, row.rfind('|') - 1));
  for (std::string cell; std::getline(in, cell, '|');) cells.push_back(trimmed(cell));
  if (row.find("| |") != std::string::npos && row.ends_with("| |")) cells.emplace_back();
  return cells;
}

/// Every table of a Markdown file whose header begins with these cells, as one list of rows.
inline std::vector<Row> rows_under(const std::string& file, const std::vector<std::string>& header) {
  std::vector<Row> rows;
  bool is_inside = false;
  for (const Line& line : lines_of(file)) {
    if (!line.text.starts_with("|")) {
      is_inside = false;
      continue;
    }
    auto cells = cells_of(line.text);
    if (is_inside && !cells[0].starts_with("--")) rows.push_back({line, cells});
    if (!is_inside)
      is_inside = cells.size() >= header.size() && std::equal(header.begin(), header.end(), cells.begin());
  }
  return rows;
}

/// The text of the fenced block marked `language` that begins with `first_line`; empty if there is none.
inline std::string fenced_block(const std::string& file, const std::string& language, const std::string& first_line) {
  std::string text;
  bool is_inside = false;
  for (const Line& line : lines_of(file)) {
    if (line.text == "```") {
      if (is_inside && text.starts_with(first_line + "\n")) return text;
      is_inside = false;
    } else if (line.text == "```" + language) {
      is_inside = true;
      text.clear();
    } else if (is_inside) {
      text += line.text + "\n";
    }
  }
  return {};
}

/// What stands between backticks in a line, in order.
inline std::vector<std::string> code_spans_of(const std::string& text) {
  std::vector<std::string> spans;
  for (auto open = text.find('`'); open != std::string::npos;) {
    const auto close = text.find('`', open + 1);
    if (close == std::string::npos) break;
    spans.push_back(text.substr(open + 1, close - open - 1));
    open = text.find('`', close + 1);
  }
  return spans;
}

/// True if `word` stands in `text` by itself, not as part of a longer name.
inline bool has_word(const std::string& text, const std::string& word) {
  const auto is_part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    const bool begins = at == 0 || !is_part(text[at - 1]);
    const bool ends = at + word.size() == text.size() || !is_part(text[at + word.size()]);
    if (begins && ends) return true;
  }
  return false;
}

/// Fails once, listing every finding.
inline void check_none(const std::vector<std::string>& findings) {
  std::string text;
  for (const auto& finding : findings) text += "\n  " + finding;
  INFO(findings.size() << " findings:" << text);
  CHECK(findings.empty());
}

}  // namespace vmigrate::tree

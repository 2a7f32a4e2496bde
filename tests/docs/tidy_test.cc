// SPDX-License-Identifier: GPL-2.0-or-later
// What a compiler does not see: files that nobody builds, long lines, promises without a number.
#include <map>
#include <regex>

#include "tests/docs/source_tree.h"

using namespace vmigrate;

namespace {

constexpr std::size_t kColumnsMax = 120;
constexpr std::size_t kProductLinesMax = 600;

bool is_script(const std::string& file) {
  return file.starts_with("scripts/") || file.starts_with("tests/lab/lab") || file.ends_with(".py") ||
         file.ends_with(".sh");
}
bool is_markdown(const std::string& file) { return file.ends_with(".md"); }
bool is_cmake(const std::string& file) { return file.ends_with("CMakeLists.txt"); }
bool is_text_of_ours(const std::string& file) {
  return tree::is_cpp(file) || is_script(file) || is_markdown(file) || is_cmake(file);
}
bool is_product(const std::string& file) { return tree::is_cpp(file) && !file.starts_with("tests/"); }

/// Characters, not bytes: a dash is one.
std::size_t columns_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// Tables cannot be wrapped, and neither can a URL, a raw string or a script's one-liner.
bool may_be_long(const tree::Line& line) {
  if (is_script(line.file)) return true;
  if (is_markdown(line.file)) return line.text.starts_with("|") || line.text.find("://") != std::string::npos;
  return line.file.starts_with("tests/") && line.text.find("R\"(") != std::string::npos;
}

/// A comment that would compile: it ends like a statement or a block. An example in a comment is indented further.
bool looks_like_code(const std::string& text) {
  static const std::regex kStatement(R"(^\s*// ?\S+.*(\(.*\)|\]| = .*);\s*$)");
  static const std::regex kBlock(R"(^\s*//\s*(([{}]\s*)|((if|for|while) \(.*\) *\{?)|(#(include|if|define).*))$)");
  return std::regex_match(text, kStatement) || std::regex_match(text, kBlock);
}

template <typename Finds>
void check_lines(Finds finds) {
  std::vector<std::string> findings;
  for (const auto& file : tree::files_below(""))
    if (is_text_of_ours(file))
      for (const auto& line : tree::lines_of(file))
        if (finds(line)) findings.push_back(line.where() + ": " + line.text.substr(0, 100));
  tree::check_none(findings);
}

}  // namespace

TEST_CASE("no line is longer than 120 columns", "[docs]") {
  check_lines([](const tree::Line& line) { return columns_of(line.text) > kColumnsMax && !may_be_long(line); });
}

TEST_CASE("there are no tabs and no blanks at the ends of lines", "[docs]") {
  check_lines([](const tree::Line& line) {
    const bool is_blank_end = line.text.ends_with(' ') && !is_markdown(line.file);
    const bool has_tab = line.text.find('\t') != std::string::npos && !is_script(line.file);
    return is_blank_end || has_tab || line.text.ends_with('\r');
  });
}

TEST_CASE("whoever promises to do something gives the issue's number", "[docs]") {
  static const std::regex kPromise(R"(\b(TO[D]O|FIX[M]E|XX[X])\b(?!\(#[0-9]+\)))");
  check_lines([](const tree::Line& line) {
    return std::regex_search(line.text, kPromise) &&
           !(is_markdown(line.file) && line.text.find('`') != std::string::npos);
  });
}

TEST_CASE("there is no code in comments", "[docs]") {
  check_lines([](const tree::Line& line) { return tree::is_cpp(line.file) && looks_like_code(line.text); });
}

TEST_CASE("no file of the product is read in a way that throws what is no Error", "[docs]") {
  check_lines([](const tree::Line& line) {
    return is_product(line.file) && line.text.find("istreambuf_iterator") != std::string::npos;
  });
}

TEST_CASE("every source begins with its license", "[docs]") {
  std::vector<std::string> findings;
  for (const auto& file : tree::files_below("")) {
    if (!tree::is_cpp(file) && !is_script(file)) continue;
    const auto lines = tree::lines_of(file);
    const std::size_t first = !lines.empty() && lines[0].text.starts_with("#!") ? 1 : 0;
    const bool has_license =
        lines.size() > first && lines[first].text.find("SPDX-License-Identifier: ") != std::string::npos;
    if (!has_license) findings.push_back(file + ":" + std::to_string(first + 1) + ": no SPDX-License-Identifier");
  }
  tree::check_none(findings);
}

TEST_CASE("no file of the product is longer than 600 lines", "[docs]") {
  std::vector<std::string> findings;
  for (const auto& file : tree::files_below(""))
    if (is_product(file) && tree::lines_of(file).size() > kProductLinesMax)
      findings.push_back(file + ":" + std::to_string(kProductLinesMax + 1) + ": wants to be two files");
  tree::check_none(findings);
}

TEST_CASE("every source is built: some CMakeLists.txt names it", "[docs]") {
  std::map<std::string, std::string> named;   // directory of the CMakeLists.txt -> its text
  for (const auto& file : tree::files_below(""))
    if (is_cmake(file)) named[tree::fs::path(file).parent_path().string()] = tree::text_of(file);
  std::vector<std::string> findings;
  for (const auto& file : tree::files_below("")) {
    if (!file.ends_with(".cc")) continue;
    const tree::fs::path path(file);
    const bool is_named_beside = tree::has_word(named[path.parent_path().string()], path.filename().string());
    const bool is_named_below = std::any_of(named.begin(), named.end(), [&](const auto& entry) {
      return tree::has_word(entry.second, "../" + path.filename().string()) &&
             tree::fs::path(entry.first).parent_path() == path.parent_path();
    });
    if (!is_named_beside && !is_named_below) findings.push_back(file + ":1: no CMakeLists.txt builds it");
  }
  tree::check_none(findings);
}

TEST_CASE("every header is included by somebody", "[docs]") {
  std::string includes;
  for (const auto& file : tree::files_below(""))
    if (tree::is_cpp(file)) includes += tree::text_of(file);
  std::vector<std::string> findings;
  for (const auto& file : tree::files_below("")) {
    if (!file.ends_with(".h")) continue;
    const bool is_included =
        includes.find("#include \"" + file + "\"") != std::string::npos ||
        includes.find("#include \"" + tree::fs::path(file).filename().string() + "\"") != std::string::npos;
    if (!is_included) findings.push_back(file + ":1: nobody includes it");
  }
  tree::check_none(findings);
}

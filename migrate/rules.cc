// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/rules.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "base/error.h"
#include "base/unique_fd.h"

namespace vmigrate {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;
constexpr mode_t kWritableByOthers = 022;
constexpr std::size_t kWords = 5;   // allow ACTION CONTAINER PREPOSITION HOST

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// DNS names have no case.
std::string lower(std::string_view text) {
  std::string made(text);
  std::ranges::transform(made, made.begin(), [](char c) { return lower(c); });
  return made;
}

bool is_alphanumeric(char c) { return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9'); }

bool is_pattern_of(std::string_view text, std::string_view punctuation) {
  const auto is_good = [&](char c) {
    return is_alphanumeric(c) || c == '*' || c == '?' || punctuation.find(c) != std::string_view::npos;
  };
  return std::ranges::all_of(text, is_good);
}

const ActionWords& words_of(Action action) {
  return *std::ranges::find_if(kActions, [&](const ActionWords& words) { return words.action == action; });
}

std::string in_quotes(std::string_view text) { return "\"" + std::string(text) + "\""; }

std::vector<std::string> words_in(const std::string& line) {
  std::istringstream in(line.substr(0, line.find('#')));
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

Rule parse_rule(const std::vector<std::string>& words, int line) {
  if (words[0] != "allow")
    throw Error(Errc::usage, in_quotes(words[0]) + " begins no rule; a rule is \"allow ACTION CONTAINER by HOST\"");
  const ActionWords& action = action_called(words.size() > 1 ? words[1] : "");
  const std::string usage = "it is \"allow " + std::string(action.name) + " CONTAINER " +
                            std::string(action.preposition) + " HOST\"";
  if (words.size() != kWords)
    throw Error(Errc::usage, std::to_string(words.size()) + " words where a rule has five; " + usage);
  if (words[3] != action.preposition)
    throw Error(Errc::usage, in_quotes(words[3]) + " does not go with " + std::string(action.name) + "; " + usage);
  if (!is_pattern_of(words[2], "_+.-"))
    throw Error(Errc::usage, "no container can be called " + in_quotes(words[2]) + "; give one name or pattern");
  if (!is_pattern_of(words[4], ".-_:"))
    throw Error(Errc::usage, "no host can be called " + in_quotes(words[4]) + "; one name or pattern stands there");
  return {action.action, words[2], lower(words[4]), line};
}

/// Every right includes the right to look, and whoever moves a container may ask how that ended.
bool covers(Action granted, const Deed& deed) {
  if (granted == deed.action) return true;
  if (deed.action == Action::ask) return granted == Action::send || granted == Action::receive;
  return granted == Action::inspect && deed.is_dry_run;
}

bool is_about(const Rule& rule, const std::vector<std::string>& host_names) {
  return std::ranges::any_of(host_names, [&](const std::string& name) { return matches(rule.host, lower(name)); });
}

/// Empty if there is none.
std::string read_file(const std::filesystem::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open() && errno == ENOENT) return {};
  check_syscall(fd.get(), "open", path.string());
  struct stat status {};
  check_syscall(::fstat(fd.get(), &status), "fstat", path.string());
  if (!S_ISREG(status.st_mode) || static_cast<std::size_t>(status.st_size) > kFileBytesMax)
    throw Error(Errc::usage, path.string() + " is no file of rules");
  if ((status.st_mode & kWritableByOthers) != 0)
    throw Error(Errc::usage, path.string() + " can be written by others than its owner; chmod go-w " + path.string());
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  const auto got = ::pread(fd.get(), text.data(), text.size(), 0);
  check_syscall(got, "read", path.string());
  text.resize(static_cast<std::size_t>(got));
  return text;
}

}  // namespace

const ActionWords& action_called(std::string_view name) {
  const auto found = std::ranges::find_if(kActions, [&](const ActionWords& words) { return words.name == name; });
  if (found == kActions.end())
    throw Error(Errc::usage, in_quotes(name) + " is no action; there are start, send, receive, inspect and ask");
  return *found;
}

bool matches(std::string_view pattern, std::string_view text) {
  std::size_t in_pattern = 0;
  std::size_t in_text = 0;
  std::size_t star = std::string_view::npos;   // the last one met, and where its part of the text may end
  std::size_t star_end = 0;
  while (in_text < text.size()) {
    if (in_pattern < pattern.size() && pattern[in_pattern] == '*') {
      star = in_pattern++;
      star_end = in_text;
    } else if (in_pattern < pattern.size() && (pattern[in_pattern] == '?' || pattern[in_pattern] == text[in_text])) {
      ++in_pattern;
      ++in_text;
    } else if (star != std::string_view::npos) {
      in_pattern = star + 1;
      in_text = ++star_end;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', in_pattern) == std::string_view::npos;
}

const Rule* Rules::allowing(const std::vector<std::string>& host_names, const Deed& deed) const {
  const auto allows = [&](const Rule& rule) {
    return covers(rule.action, deed) && is_about(rule, host_names) && matches(rule.container, deed.container);
  };
  const auto found = std::ranges::find_if(rules_, allows);
  return found == rules_.end() ? nullptr : &*found;
}

const Rule* Rules::allowing_some(const std::vector<std::string>& host_names, const Deed& deed) const {
  const auto allows = [&](const Rule& rule) { return covers(rule.action, deed) && is_about(rule, host_names); };
  const auto found = std::ranges::find_if(rules_, allows);
  return found == rules_.end() ? nullptr : &*found;
}

Rules parse_rules(std::string_view text, const std::string& file) {
  std::vector<Rule> rules;
  std::istringstream in{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    const std::vector<std::string> words = words_in(line);
    if (words.empty()) continue;
    try {
      rules.push_back(parse_rule(words, number));
    } catch (const Error& error) {
      throw Error(Errc::usage, file + ":" + std::to_string(number) + ": " + error.what());
    }
  }
  return Rules(std::move(rules));
}

std::string line_for(const std::string& host, const Deed& deed) {
  const ActionWords& words = words_of(deed.is_dry_run ? Action::inspect : deed.action);
  return "allow " + std::string(words.name) + " " + deed.container + " " +
         std::string(words.preposition) + " " + host;
}

std::string first_rules(const std::string& host, const std::vector<std::string>& peers,
                        const std::vector<std::string>& operators) {
  std::ostringstream out;
  out << "# What the agent of " << host << " does, and for whom. What no line allows is refused.\n"
         "#   allow start   CONTAINER by   HOST   HOST may have us start a migration of it\n"
         "#   allow send    CONTAINER to   HOST   it may go from here to HOST\n"
         "#   allow receive CONTAINER from HOST   it may come here from HOST\n"
         "#   allow inspect CONTAINER by   HOST   HOST may look and measure: --dry-run\n"
         "#   allow ask     CONTAINER by   HOST   HOST may ask what became of it; send and receive include that\n"
         "# HOST is a name in its certificate. In both names * stands for any characters, ? for one.\n"
         "# A change counts at once.\n";
  for (const auto& peer : peers) {
    out << line_for(peer, {Action::send, "*"}) << '\n';
    out << line_for(peer, {Action::receive, "*"}) << '\n';
  }
  for (const auto& name : operators) out << line_for(name, {Action::start, "*"}) << '\n';
  return out.str();
}

Rules RulesFile::read() const { return parse_rules(read_file(path_), path_.string()); }

Rules RulesFile::read_or_refuse() const {
  try {
    return read();
  } catch (const Error& error) {
    throw Error(Errc::not_authorised, host_ + " refuses everybody until its rules are mended; " + error.what());
  }
}

void RulesFile::require(const std::vector<std::string>& host_names, const Deed& deed) const {
  if (read_or_refuse().allowing(host_names, deed) == nullptr) refuse(host_names, deed);
}

Rules RulesFile::require_some(const std::vector<std::string>& host_names, const Deed& deed) const {
  Rules rules = read_or_refuse();
  if (rules.allowing_some(host_names, deed) == nullptr) refuse(host_names, deed);
  return rules;
}

void RulesFile::refuse(const std::vector<std::string>& host_names, const Deed& deed) const {
  if (host_names.empty())
    throw Error(Errc::not_authorised, host_ + " has rules for names only; issue a certificate that has one (a SAN)");
  const std::string line = line_for(host_names.front(), deed);
  throw Error(Errc::not_authorised, host_ + " has no rule that allows this; whoever may decide it adds the line \"" +
                                        line + "\" to " + path_.string() + " on " + host_);
}

}  // namespace vmigrate

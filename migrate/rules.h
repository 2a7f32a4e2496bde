// SPDX-License-Identifier: GPL-2.0-or-later
// Whom an agent obeys: the rules file of docs/rules.md. What no rule allows is refused.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace vmigrate {

enum class Action {
  start,     ///< have this host start a migration, as an operator does
  send,      ///< the container goes from here to the other host
  receive,   ///< the container comes here from the other host
  inspect,   ///< only look and measure: the dry run of one of the above
  ask,       ///< what became of a migration?
};

/// One action as the rules file spells it: "allow send CONTAINER to HOST".
struct ActionWords {
  Action action;
  std::string_view name;
  std::string_view preposition;
};
inline constexpr std::array kActions = {
    ActionWords{Action::start, "start", "by"},       ActionWords{Action::send, "send", "to"},
    ActionWords{Action::receive, "receive", "from"}, ActionWords{Action::inspect, "inspect", "by"},
    ActionWords{Action::ask, "ask", "by"},
};
/// Throws Error(Errc::usage) for a word that is no action.
const ActionWords& action_called(std::string_view name);

/// What somebody wants of this host.
struct Deed {
  Action action = Action::start;
  std::string container;
  bool is_dry_run = false;
};

/// One line: `container` and `host` are patterns in which * stands for any characters and ? for one.
struct Rule {
  Action action = Action::start;
  std::string container;
  std::string host;
  int line = 0;
};

/// True if `pattern` describes all of `text`.
bool matches(std::string_view pattern, std::string_view text);

class Rules {
 public:
  Rules() = default;
  explicit Rules(std::vector<Rule> rules) : rules_(std::move(rules)) {}

  /// The first rule that allows the deed to a host whose certificate has these names; null if there is none. The right
  /// to an action includes its dry run, and the right to send or receive includes asking what became of it.
  const Rule* allowing(const std::vector<std::string>& host_names, const Deed& deed) const;
  /// The first rule that allows the deed with some container, whatever deed.container is.
  const Rule* allowing_some(const std::vector<std::string>& host_names, const Deed& deed) const;
  std::size_t size() const { return rules_.size(); }

 private:
  std::vector<Rule> rules_;
};

/// Throws Error(Errc::usage): "FILE:LINE: " and what is wrong there. `file` is for that sentence only.
Rules parse_rules(std::string_view text, const std::string& file);

/// The line that would allow exactly this: "allow send redis to beta".
std::string line_for(const std::string& host, const Deed& deed);

/// A first rules file for `host`: the syntax as a comment, both directions for each of `peers`, start for each of
/// `operators`. Without those it allows nothing.
std::string first_rules(const std::string& host, const std::vector<std::string>& peers,
                        const std::vector<std::string>& operators);

/// The rules file of one agent. It is read anew at each question, so that a change counts at once.
class RulesFile {
 public:
  /// `host` is our own name, for sentences.
  RulesFile(std::filesystem::path path, std::string host) : path_(std::move(path)), host_(std::move(host)) {}

  const std::filesystem::path& path() const { return path_; }
  /// A file that is not there allows nothing. Throws Error: usage where it is faulty or others than its owner may write
  /// it, and failures of the kernel.
  Rules read() const;
  /// Throws Error(Errc::not_authorised) with the line to add unless a rule allows it. So does a faulty file.
  void require(const std::vector<std::string>& host_names, const Deed& deed) const;
  /// The same for Rules::allowing_some(). Returns the rules, to ask them about each container.
  Rules require_some(const std::vector<std::string>& host_names, const Deed& deed) const;

 private:
  Rules read_or_refuse() const;
  [[noreturn]] void refuse(const std::vector<std::string>& host_names, const Deed& deed) const;

  std::filesystem::path path_;
  std::string host_;
};

}  // namespace vmigrate

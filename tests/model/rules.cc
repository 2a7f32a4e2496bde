// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/model/rules.h"

namespace vmigrate::model {
namespace {

template <typename Table, std::size_t kRows>
void list_unused(const Table& table, const std::array<bool, kRows>& walked, std::vector<std::string>& unused) {
  for (std::size_t row = 0; row < table.size(); ++row)
    if (!walked[row])
      unused.push_back(std::string(name_of(table[row].from)) + " + " + std::string(name_of(table[row].event)));
}

}  // namespace

std::vector<std::string> Coverage::unused(const Rules& rules) const {
  std::vector<std::string> rows;
  list_unused(rules.source, source, rows);
  list_unused(rules.destination, destination, rows);
  return rows;
}

std::string text_of(const Step& step) {
  std::string text = step.host == 0 ? "alpha" : "beta";
  text += " " + std::string(step.verb);
  if (!step.object.empty()) text += " " + std::string(step.object);
  if (step.attempt >= 0) text = std::to_string(step.attempt + 1) + ": " + text;
  return text;
}

std::string_view name_of(Message message) noexcept {
  constexpr std::array<std::string_view, kMessages> names = {"Open",  "Accept",  "Manifest", "Ready",
                                                             "Go",    "Running", "Refused",  "Abort"};
  return names[static_cast<std::size_t>(message)];
}

}  // namespace vmigrate::model

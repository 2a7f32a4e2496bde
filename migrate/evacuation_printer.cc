// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/evacuation_printer.h"

#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>

#include "migrate/printer.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

using nlohmann::json;

constexpr int kOutcomeColumn = 16;
constexpr int kFigureColumn = 10;

/// Bounded, so that a figure from elsewhere cannot leave the range of an integer.
std::string seconds(double value) {
  const std::chrono::duration<double> bounded(std::clamp(value, 0.0, 1e9));
  return format_duration(std::chrono::duration_cast<Duration>(bounded));
}
std::string bytes(double value) { return format_bytes(static_cast<std::uint64_t>(std::clamp(value, 0.0, 9e18))); }

std::string message_in(const json& row) {
  return row.is_object() && row.contains("error") ? text_in(row["error"], "message") : "";
}

std::string ending_of(const json& report) {
  const std::string result = text_in(report, "result");
  const std::string total = seconds(number_in(report, "total_seconds"));
  if (result == "predicted") {
    const std::string downtime = seconds(number_in(report, "expected_downtime_ms") / 1000);
    return flag_in(report, "converges") ? "would be down for " + downtime + ", " + total + " in all"
                                        : "would not converge";
  }
  if (result == "migrated" || result == "cleanup_pending")
    return "now runs on " + text_in(report, "destination") + ", " + total + " in all";
  return result + ": " + message_in(report);
}

std::string line_of_row(const json& row, int name_column) {
  std::ostringstream line;
  line << "  " << std::left << std::setw(name_column) << text_in(row, "container") << "  "
       << std::setw(kOutcomeColumn) << text_in(row, "result") << std::right;
  const bool has_figures = row.is_object() && row.contains("total_seconds");
  line << std::setw(kFigureColumn) << (has_figures ? seconds(number_in(row, "total_seconds")) : "-")
       << std::setw(kFigureColumn) << (has_figures ? seconds(number_in(row, "downtime_ms") / 1000) : "-")
       << std::setw(kFigureColumn) << (has_figures ? bytes(number_in(row, "wire_bytes")) : "-") << '\n';
  return line.str();
}

std::string head_of(int name_column) {
  std::ostringstream head;
  head << "  " << std::left << std::setw(name_column) << "container" << "  " << std::setw(kOutcomeColumn) << "result"
       << std::right << std::setw(kFigureColumn) << "total" << std::setw(kFigureColumn) << "downtime"
       << std::setw(kFigureColumn) << "bytes" << '\n';
  return head.str();
}

std::string last_line_of(const json& summary, std::size_t containers) {
  std::ostringstream line;
  line << static_cast<std::uint64_t>(number_in(summary, "moved")) << " of " << containers << " containers moved from "
       << text_in(summary, "source") << " to " << text_in(summary, "destination") << " in "
       << seconds(number_in(summary, "total_seconds")) << ", " << bytes(number_in(summary, "wire_bytes"))
       << " over the wire\n";
  return line.str();
}

}  // namespace

std::string evacuation_table(const json& summary) {
  const std::vector<json> rows = list_in(summary, "containers");
  if (rows.empty() && summary.is_object() && summary.contains("error")) return {};
  int name_column = 9;
  for (const auto& row : rows) name_column = std::max(name_column, static_cast<int>(text_in(row, "container").size()));
  std::string text = head_of(name_column);
  for (const auto& row : rows) text += line_of_row(row, name_column);
  for (const auto& row : rows)
    if (const std::string message = message_in(row); !message.empty())
      text += text_in(row, "container") + ": " + message + '\n';
  if (const double hidden = number_in(summary, "hidden"); hidden > 0)
    text += std::to_string(static_cast<std::uint64_t>(hidden)) + " more run on " + text_in(summary, "source") +
            " and stay there: its rules do not let us move them\n";
  return text + last_line_of(summary, rows.size());
}

void EvacuationPrinter::report(const json& event) noexcept {
  const std::string container = text_in(event, "container");
  if (text_in(event, "event") == "report") {
    out_ << container << ": " << ending_of(event) << std::endl;
    return;
  }
  const std::string line = line_of(event);
  if (!line.empty()) out_ << container << ":" << line << std::endl;
}

}  // namespace vmigrate

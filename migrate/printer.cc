// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/printer.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <ostream>

#include "migrate/report.h"

namespace vmigrate {
namespace {

using nlohmann::json;

/// Bounded, so that a figure from elsewhere cannot leave the range of an integer.
std::uint64_t count_in(const json& in, const char* key) {
  return static_cast<std::uint64_t>(std::clamp(number_in(in, key), 0.0, 9e18));
}
std::string bytes(const json& in, const char* key) { return format_bytes(count_in(in, key)); }
Duration milliseconds(double value) {
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double, std::milli>(std::clamp(value, -1e12, 1e12)));
}

template <typename... Args>
std::string format(const char* pattern, Args... args) {
  std::array<char, 512> line;
  std::snprintf(line.data(), line.size(), pattern, args...);
  return line.data();
}

std::string round_line(const json& round) {
  const double seconds = number_in(round, "seconds");
  const double rate = seconds > 0 ? number_in(round, "wire_bytes") / seconds : 0;
  std::string line = format("  round %2d  %9s sent, %9s on the wire in %7s (%s/s)",
                            static_cast<int>(count_in(round, "round") % 100000), bytes(round, "data_bytes").c_str(),
                            bytes(round, "wire_bytes").c_str(), format_duration(milliseconds(seconds * 1000)).c_str(),
                            format_bytes(static_cast<std::uint64_t>(std::clamp(rate, 0.0, 9e18))).c_str());
  if (flag_in(round, "is_final")) return line + ", frozen: nothing left";
  return line + format(", %s left", bytes(round, "left_bytes").c_str());
}

std::string state_line(const json& event) {
  const std::string state = text_in(event, "state");
  if (state == "copying") return "  copying while it runs";
  if (state == "freezing") return "  frozen";
  if (state == "committing") return "  given to the destination";
  if (state == "aborted") return "  rolled back: it runs on the source";
  return {};
}

std::string downtime_lines(const json& report) {
  if (!report.is_object() || !report.contains("downtime")) return {};
  const json& downtime = report["downtime"];
  std::string lines;
  for (const json& part : list_in(downtime, "parts"))
    lines += format("    %-12s %9.1f ms\n", text_in(part, "part").c_str(), number_in(part, "ms"));
  if (lines.empty()) return {};
  return "  downtime in parts:\n" + lines + format("    %-12s %9.1f ms\n", "total", number_in(downtime, "total_ms"));
}

std::string prediction_of(const json& report) {
  std::string lines = format("  %s used, %s of memory, link %s/s with a round trip of %.1f ms, writes %s/s\n",
                             bytes(report, "used_bytes").c_str(), bytes(report, "memory_bytes").c_str(),
                             bytes(report, "bandwidth_bytes_per_second").c_str(), number_in(report, "round_trip_ms"),
                             bytes(report, "dirty_bytes_per_second").c_str());
  for (const auto& round : list_in(report, "rounds")) lines += round_line(round) + "\n";
  lines += format("%s: it %s; expected downtime %s, total %s\n", text_in(report, "container").c_str(),
                  flag_in(report, "converges") ? "would converge" : "would not converge",
                  format_duration(milliseconds(number_in(report, "expected_downtime_ms"))).c_str(),
                  format_duration(milliseconds(number_in(report, "total_seconds") * 1000)).c_str());
  return lines + "nothing was changed on either side\n";
}

/// What copying while it runs has cost, beyond one copy.
std::string resent_line(const json& report) {
  const double dirtied = number_in(report, "dirtied_bytes");
  if (dirtied <= 0) return {};
  return format("  written meanwhile: %s; sent again: %s, %.2f bytes per byte written\n",
                bytes(report, "dirtied_bytes").c_str(), bytes(report, "resent_bytes").c_str(),
                number_in(report, "resent_bytes") / dirtied);
}

std::string success_of(const json& report) {
  std::string lines = downtime_lines(report) + resent_line(report);
  lines += format("%s now runs on %s: %s in all, %s over the wire, %zu rounds, tracker %s\n",
                  text_in(report, "container").c_str(), text_in(report, "destination").c_str(),
                  format_duration(milliseconds(number_in(report, "total_seconds") * 1000)).c_str(),
                  bytes(report, "wire_bytes").c_str(), list_in(report, "rounds").size(),
                  text_in(report, "tracker").c_str());
  if (count_in(report, "base_bytes") > 0) lines += "resumed from " + bytes(report, "base_bytes") + " that were there\n";
  lines += "image digest " + text_in(report, "image_digest") +
           (flag_in(report, "verified") ? " (both sides read the whole image again)" : "") + "\n";
  const std::string kept = text_in(report, "kept_image");
  return kept.empty() ? lines : lines + "the source's copy is kept as " + kept + "\n";
}

}  // namespace

std::string line_of(const json& event) {
  const std::string kind = text_in(event, "event");
  if (kind == "round") return round_line(event);
  if (kind == "state" && text_in(event, "side") == "source") return state_line(event);
  if (kind == "remark" || kind == "throttle" || kind == "rates" || kind == "in_doubt")
    return "  " + text_in(event, "message");
  return {};
}

std::string summary_of(const json& report) {
  const std::string result = text_in(report, "result");
  if (result == "predicted") return prediction_of(report);
  if (result == "migrated" || result == "cleanup_pending") return success_of(report);
  return downtime_lines(report);
}

void JsonPrinter::report(const json& event) noexcept { out_ << to_text(event) << std::endl; }

void TextPrinter::report(const json& event) noexcept {
  if (text_in(event, "event") == "report") return;   // summary_of() tells it, at the end
  const std::string line = line_of(event);
  if (!line.empty()) out_ << line << std::endl;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/report.h"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/block.h"

namespace vmigrate {

using nlohmann::json;

namespace {

double milliseconds(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }
double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

json to_json(const Downtime& downtime) {
  json parts = json::array();
  for (const auto& part : downtime.parts()) parts.push_back({{"part", part.name}, {"ms", milliseconds(part.duration)}});
  return {{"total_ms", milliseconds(downtime.total())}, {"parts", parts}};
}

const json* field_in(const json& document, const char* key) {
  if (!document.is_object()) return nullptr;
  const auto at = document.find(key);
  return at == document.end() ? nullptr : &*at;
}

std::string format(const char* pattern, double value, const char* unit) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), pattern, value, unit);
  return text.data();
}

}  // namespace

std::string_view name_of(Outcome outcome) noexcept {
  constexpr std::array<std::string_view, 5> names = {"migrated", "cleanup_pending", "aborted", "in_doubt", "predicted"};
  return names[static_cast<std::size_t>(outcome)];
}

Duration Downtime::total() const {
  Duration sum{};
  for (const auto& part : parts_) sum += part.duration;
  return sum;
}

std::uint64_t MigrationReport::dirtied_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& round : rounds) sum += round.round > 1 ? round.blocks_dirty * kBlockBytes : 0;
  return sum;
}

std::uint64_t MigrationReport::resent_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& round : rounds) sum += round.round > 1 ? round.data_bytes : 0;
  return sum;
}

std::string text_in(const json& document, const char* key) {
  const json* field = field_in(document, key);
  return field != nullptr && field->is_string() ? field->get<std::string>() : std::string();
}

double number_in(const json& document, const char* key) {
  const json* field = field_in(document, key);
  return field != nullptr && field->is_number() ? field->get<double>() : 0.0;
}

bool flag_in(const json& document, const char* key) {
  const json* field = field_in(document, key);
  return field != nullptr && field->is_boolean() && field->get<bool>();
}

std::vector<json> list_in(const json& document, const char* key) {
  const json* field = field_in(document, key);
  return field != nullptr && field->is_array() ? field->get<std::vector<json>>() : std::vector<json>();
}

std::string to_text(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

json object_from_text(const std::string& text, const std::string& peer) {
  constexpr int kDepthMax = 32;
  const auto within_depth = [&](int depth, json::parse_event_t, json&) {
    if (depth > kDepthMax) throw Error(Errc::protocol_violation, peer + " sent a document that is nested too deeply");
    return true;
  };
  json document = json::parse(text, within_depth, false);
  if (!document.is_object()) throw Error(Errc::protocol_violation, peer + " sent something that is no JSON object");
  return document;
}

json to_json(const RoundStats& round) {
  return {{"round", round.round},
          {"dirty_blocks", round.blocks_dirty},
          {"data_bytes", round.data_bytes},
          {"zero_bytes", round.zero_bytes},
          {"wire_bytes", round.wire_bytes},
          {"seconds", seconds(round.duration)},
          {"left_bytes", round.bytes_left},
          {"throttle_percent", round.throttle_percent},
          {"compares", round.compares}};
}

json to_json(const MigrationReport& report) {
  json out = {{"event", "report"},
              {"result", name_of(report.outcome)},
              {"container", report.container},
              {"source", report.source},
              {"destination", report.destination},
              {"migration", to_hex(report.migration)},
              {"tracker", report.tracker},
              {"volume_bytes", report.volume_bytes},
              {"checkpoint_bytes", report.checkpoint_bytes},
              {"base_bytes", report.base_bytes},
              {"rounds", json::array()},
              {"downtime", to_json(report.downtime)},
              {"total_seconds", seconds(report.total)},
              {"wire_bytes", report.wire_bytes},
              {"dirtied_bytes", report.dirtied_bytes()},
              {"resent_bytes", report.resent_bytes()},
              {"throttle_percent", report.throttle_percent},
              {"verified", report.was_verified},
              {"kept_image", report.kept_image},
              {"remarks", report.remarks}};
  for (const auto& round : report.rounds) out["rounds"].push_back(to_json(round));
  out["image_digest"] = report.image_digest ? json(to_hex(*report.image_digest)) : json(nullptr);
  if (report.failure)
    out["error"] = {{"code", name_of(report.failure->code)}, {"number", static_cast<int>(report.failure->code)},
                    {"message", report.failure->sentence}};
  return out;
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 6> units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return format(unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

std::string format_duration(Duration duration) {
  const double ms = milliseconds(duration);
  if (ms < 1000) return format(ms < 10 ? "%.1f %s" : "%.0f %s", ms, "ms");
  return format("%.2f %s", ms / 1000, "s");
}

}  // namespace vmigrate

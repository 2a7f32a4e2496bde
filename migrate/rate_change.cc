// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/rate_change.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

using nlohmann::json;

constexpr const char* kRunning = "bandwidth_max";
constexpr const char* kFrozen = "switchover_bandwidth_max";

std::optional<std::uint64_t> rate_in(const json& in, const char* key) {
  const auto field = in.find(key);
  if (field == in.end()) return std::nullopt;
  if (!field->is_number_unsigned())
    throw Error(Errc::protocol_violation, std::string("the field ") + key + " is not a number within its bounds");
  return field->get<std::uint64_t>();
}

std::string in_words(std::uint64_t rate) { return rate == 0 ? "no limit" : "at most " + format_bytes(rate) + "/s"; }

}  // namespace

std::string to_json(const RateChange& change) {
  json out = {{"container", change.container}};
  if (change.bandwidth_max) out[kRunning] = *change.bandwidth_max;
  if (change.switchover_bandwidth_max) out[kFrozen] = *change.switchover_bandwidth_max;
  return to_text(out);
}

RateChange rate_change_from_json(const std::string& text) {
  const json in = object_from_text(text, "the peer");
  const auto container = in.find("container");
  if (container == in.end() || !container->is_string())
    throw Error(Errc::protocol_violation, "the peer does not say which container's rates it changes");
  const RateChange change{*container, rate_in(in, kRunning), rate_in(in, kFrozen)};
  if (!change.bandwidth_max && !change.switchover_bandwidth_max)
    throw Error(Errc::protocol_violation, "the peer does not say which rate it changes");
  return change;
}

Rates Rates::changed_by(const RateChange& change) const {
  return {change.bandwidth_max.value_or(bandwidth_max),
          change.switchover_bandwidth_max.value_or(switchover_bandwidth_max)};
}

json to_json(const Rates& rates) {
  return {{kRunning, rates.bandwidth_max}, {kFrozen, rates.switchover_bandwidth_max}};
}

Rates rates_in(const json& document) {
  const auto rate = [&](const char* key) {
    const auto field = document.find(key);
    return field != document.end() && field->is_number_unsigned() ? field->get<std::uint64_t>() : 0;
  };
  return {rate(kRunning), rate(kFrozen)};
}

std::string sentence_of(const Rates& rates) {
  return in_words(rates.bandwidth_max) + " while it runs, " + in_words(rates.switchover_bandwidth_max) +
         " while it stands still";
}

}  // namespace vmigrate

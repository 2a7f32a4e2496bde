// SPDX-License-Identifier: GPL-2.0-or-later
// The OCI config rules: what passes them can be adapted, and means the same to every runtime.
#include "checkpoint/container_config.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz_targets.h"

namespace vmigrate::fuzz {
namespace {

using nlohmann::json;

const ConfigPlacement kPlacement = {.rootfs = "/srv/ct7/rootfs",
                                    .network_namespace_path = "/run/netns/ct7",
                                    .default_cgroups_path = "/vmigrate/ct7"};

/// What the rules look for. runc takes a key for one of these whatever the case of its letters.
constexpr std::array<std::string_view, 26> kJudged = {
    "hooks",       "annotations", "process",     "mounts",     "linux",     "root",        "path",
    "terminal",    "destination", "type",        "source",     "options",   "uidMappings", "gidMappings",
    "namespaces",  "devices",     "resources",   "sysctl",     "seccomp",   "cgroupsPath", "rootfsPropagation",
    "intelRdt",    "listenerPath", "listenerMetadata",         "allow",     "access"};

bool is_judged_in_another_spelling(std::string_view key) {
  const auto is_same_letter = [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); };
  return std::ranges::any_of(
      kJudged, [&](std::string_view word) { return word != key && std::ranges::equal(word, key, is_same_letter); });
}

bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

/// Somewhere in it a runtime would see what the rules did not.
bool hides_something(const json& value) {
  if (value.is_string()) return has_nul(value.get<std::string>());
  if (!value.is_structured()) return false;
  return std::ranges::any_of(value.items(), [&](const auto& field) {
    const bool is_key = value.is_object();
    if (has_nul(field.key())) return true;
    if (is_key && !field.value().empty() && is_judged_in_another_spelling(field.key())) return true;
    const bool is_free = is_key && (field.key() == "annotations" || field.key() == "sysctl");
    return !is_free && hides_something(field.value());
  });
}

bool is_list_or_missing(const json& object, const char* key) {
  return !object.contains(key) || object.at(key).is_null() || object.at(key).is_array();
}

void check_adapted(const json& config) {
  const json& linux_part = config.at("linux");
  MIGRATE_ASSERT(!config.contains("hooks") && !config.contains("annotations"));
  MIGRATE_ASSERT(config.at("root").at("path") == kPlacement.rootfs.string());
  MIGRATE_ASSERT(is_list_or_missing(config, "mounts") && is_list_or_missing(linux_part, "devices"));
  MIGRATE_ASSERT(linux_part.at("namespaces").is_array());
  MIGRATE_ASSERT(linux_part.at("resources").at("devices").is_array());
  for (const auto& one : linux_part.at("namespaces"))
    MIGRATE_ASSERT(!one.contains("path") || one.at("path") == "" ||
                   (one.at("type") == "network" && one.at("path") == kPlacement.network_namespace_path));
  MIGRATE_ASSERT(!hides_something(config));
}

}  // namespace

void config(Bytes input) {
  const std::string text(reinterpret_cast<const char*>(input.data()), input.size());
  const auto refusals = {Errc::protocol_violation, Errc::unsupported_container};
  accepted(refusals, [&] { return network_namespace_of(text); });
  accepted(refusals, [&] { return cgroups_path_of(text); });
  const bool is_good = accepted(refusals, [&] { return check_config(text), true; }).has_value();
  const auto adapted = accepted(refusals, [&] { return adapt_config(text, kPlacement); });
  MIGRATE_ASSERT(is_good == adapted.has_value());
  if (!adapted) return;
  check_config(*adapted);
  MIGRATE_ASSERT(adapt_config(*adapted, kPlacement) == *adapted);
  check_adapted(json::parse(*adapted));
}

}  // namespace vmigrate::fuzz

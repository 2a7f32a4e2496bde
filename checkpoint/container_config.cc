// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/container_config.h"

#include <algorithm>
#include <fstream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/config_rules.h"

namespace vmigrate {
namespace {

using nlohmann::json;

constexpr std::size_t kConfigBytesMax = 256 << 10;
constexpr int kConfigDepthMax = 24;

json parse_config(const std::string& text) {
  if (text.size() > kConfigBytesMax)
    throw Error(Errc::protocol_violation, "config.json is larger than " + std::to_string(kConfigBytesMax) + " bytes");
  const auto bound_depth = [](int depth, json::parse_event_t, json&) {
    if (depth > kConfigDepthMax) throw Error(Errc::protocol_violation, "config.json is nested too deeply");
    return true;
  };
  try {
    auto config = json::parse(text, bound_depth);
    if (!config.is_object()) throw Error(Errc::protocol_violation, "config.json is no JSON object");
    return config;
  } catch (const json::exception& failure) {
    throw Error(Errc::protocol_violation, std::string("config.json is no JSON: ") + failure.what());
  }
}

/// Runs `read`, in which every access may find another type than it expects.
auto with_types_checked(const auto& read) {
  try {
    return read();
  } catch (const json::exception& failure) {
    throw Error(Errc::protocol_violation,
                std::string("config.json is not of the form the OCI gave it: ") + failure.what());
  }
}

const json* network_namespace_in(const json& config) {
  const auto linux_part = config.find("linux");
  if (linux_part == config.end() || !linux_part->contains("namespaces")) return nullptr;
  for (const auto& one : linux_part->at("namespaces"))
    if (one.at("type") == "network") return &one;
  return nullptr;
}

bool denies_everything(const json& rule) {
  return rule.value("allow", false) == false && rule.value("type", "a") == "a" && !rule.contains("major") &&
         !rule.contains("minor") && rule.value("access", "rwm") == "rwm";
}

/// What a config does not forbid some runtimes allow; the destination wants it said.
void deny_devices_first(json& linux_part) {
  json& rules = linux_part["resources"]["devices"];
  if (!rules.is_array()) rules = json::array();
  const json deny = {{"allow", false}, {"access", "rwm"}};
  if (rules.empty() || !denies_everything(rules.front())) rules.insert(rules.begin(), deny);
}

void place_network(json& linux_part, const std::string& path) {
  for (auto& one : linux_part["namespaces"]) {
    if (one.at("type") != "network") continue;
    one.erase("path");
    if (!path.empty()) one["path"] = path;
  }
}

}  // namespace

std::string read_config(const std::filesystem::path& bundle) {
  const auto file = bundle / "config.json";
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw Error(errno, "open", file.native());
  std::string text(kConfigBytesMax + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(stream.gcount()));
  if (stream.bad()) throw Error(EIO, "read", file.native());
  if (text.size() > kConfigBytesMax)
    throw Error(Errc::unsupported_container,
                file.string() + " is larger than " + std::to_string(kConfigBytesMax) + " bytes");
  return text;
}

void check_config(const std::string& config_json) {
  const json config = parse_config(config_json);
  with_types_checked([&] { apply_config_rules(config); });
}

std::string network_namespace_of(const std::string& config_json) {
  const json config = parse_config(config_json);
  return with_types_checked([&] {
    const json* network = network_namespace_in(config);
    return network == nullptr ? std::string() : network->value("path", std::string());
  });
}

std::string cgroups_path_of(const std::string& config_json) {
  const json config = parse_config(config_json);
  return with_types_checked([&] {
    const auto linux_part = config.find("linux");
    return linux_part == config.end() ? std::string() : linux_part->value("cgroupsPath", std::string());
  });
}

std::string adapt_config(const std::string& config_json, const ConfigPlacement& placement) {
  json config = parse_config(config_json);
  return with_types_checked([&] {
    apply_config_rules(config);
    json& linux_part = config["linux"];
    config["root"]["path"] = placement.rootfs.string();
    // Annotations are for whoever made the container here; those that steer a runtime were refused.
    config.erase("annotations");
    config.erase("hooks");
    place_network(linux_part, placement.network_namespace_path);
    deny_devices_first(linux_part);
    if (linux_part.value("cgroupsPath", std::string()).empty() && !placement.default_cgroups_path.empty())
      linux_part["cgroupsPath"] = placement.default_cgroups_path;
    return config.dump(2);
  });
}

}  // namespace vmigrate

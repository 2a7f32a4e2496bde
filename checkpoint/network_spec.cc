// SPDX-License-Identifier: GPL-2.0-or-later
// NetworkSpec to and from JSON; every word that will reach `ip` is checked here.
#include <algorithm>
#include <array>
#include <set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/network.h"
#include "checkpoint/network_text.h"

namespace vmigrate {
namespace {

using nlohmann::json;

constexpr std::size_t kSpecBytesMax = 256 << 10;
constexpr int kSpecDepthMax = 6;
constexpr std::size_t kInterfacesMax = 16;
constexpr std::size_t kAddressesMax = 64;
constexpr std::size_t kRoutesMax = 256;
constexpr std::size_t kNeighboursMax = 1024;
constexpr std::uint32_t kMtuMin = 68;
constexpr std::uint32_t kMtuMax = 65535;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(Errc::protocol_violation, "the container's network as sent " + what);
}

void require(bool is_right, const std::string& what) {
  if (!is_right) refuse(what);
}

bool is_assignable(const IpAddress& address) {
  const auto& bytes = address.bytes;
  const bool is_zero = std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
  if (is_zero) return false;
  return address.is_v6 ? bytes[0] != 0xff : bytes[0] != 127 && bytes[0] < 224;
}

void check_interface(const NetworkInterface& interface) {
  require(is_interface_name(interface.name), "has an interface whose name is not allowed");
  require(is_interface_name(interface.host_name), "has a host side whose name is not allowed, for " + interface.name);
  require(is_interface_name(interface.bridge), "has a bridge whose name is not allowed, for " + interface.name);
  require(mac_from(interface.mac).has_value(), "has no usable MAC address for " + interface.name);
  require(interface.mtu >= kMtuMin && interface.mtu <= kMtuMax, "has no usable MTU for " + interface.name);
  require(interface.addresses.size() <= kAddressesMax, "has too many addresses for " + interface.name);
  for (const auto& text : interface.addresses) {
    const auto address = address_of_prefix(text);
    require(address && is_assignable(*address), "has an address that cannot be assigned, for " + interface.name);
  }
}

bool is_number(const std::string& word) {
  return !word.empty() && word.size() <= 10 && word.find_first_not_of("0123456789") == std::string::npos;
}

bool is_one_of(const std::string& word, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// "default" or an address with or without a prefix length, then pairs of keyword and value; "onlink" stands alone.
bool is_route(const std::string& route, const std::set<std::string>& interfaces) {
  const auto words = words_of(route);
  if (words.empty()) return false;
  if (words[0] != "default" && !address_from(words[0]) && !address_of_prefix(words[0])) return false;
  bool has_interface = false;
  for (std::size_t at = 1; at < words.size(); ++at) {
    if (words[at] == "onlink") continue;
    if (at + 1 == words.size()) return false;
    const auto& key = words[at];
    const auto& value = words[++at];
    if (key == "dev" && interfaces.contains(value)) has_interface = true;
    else if (is_one_of(key, {"via", "src"}) && address_from(value)) continue;
    else if (is_one_of(key, {"metric", "mtu"}) && is_number(value)) continue;
    else if (key == "scope" && is_one_of(value, {"link", "global"})) continue;
    else return false;
  }
  return has_interface;
}

/// "10.0.0.1 lladdr 02:… dev eth0", perhaps with "nud permanent", "nud stale" or "nud reachable".
bool is_neighbour(const std::string& neighbour, const std::set<std::string>& interfaces) {
  const auto words = words_of(neighbour);
  if (words.size() != 5 && words.size() != 7) return false;
  if (!address_from(words[0]) || words[1] != "lladdr" || !mac_from(words[2])) return false;
  if (words[3] != "dev" || !interfaces.contains(words[4])) return false;
  return words.size() == 5 || (words[5] == "nud" && is_one_of(words[6], {"permanent", "stale", "reachable"}));
}

/// Control characters would end one command of a batch and begin another.
bool is_one_line(const std::string& text) {
  return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; });
}

void check_spec(const NetworkSpec& spec) {
  if (spec.namespace_name.empty()) {
    require(spec.interfaces.empty() && spec.routes.empty() && spec.neighbours.empty(),
            "has interfaces but no namespace");
    return;
  }
  require(is_namespace_name(spec.namespace_name), "has a namespace whose name is not allowed");
  require(spec.interfaces.size() <= kInterfacesMax, "has too many interfaces");
  require(spec.routes.size() <= kRoutesMax && spec.neighbours.size() <= kNeighboursMax,
          "has too many routes or neighbours");
  std::set<std::string> names, host_names;
  for (const auto& interface : spec.interfaces) {
    check_interface(interface);
    require(names.insert(interface.name).second && host_names.insert(interface.host_name).second,
            "has two interfaces of one name");
  }
  for (const auto& route : spec.routes)
    require(is_one_line(route) && is_route(route, names), "has a route that is not allowed");
  for (const auto& neighbour : spec.neighbours)
    require(is_one_line(neighbour) && is_neighbour(neighbour, names), "has a neighbour that is not allowed");
}

/// The library would wrap a larger number around, and cut a fraction off.
std::uint32_t mtu_from(const json& number) {
  require(number.is_number_unsigned() && number.get<std::uint64_t>() <= kMtuMax, "has no usable MTU");
  return number.get<std::uint32_t>();
}

NetworkInterface interface_from(const json& object) {
  return {.name = object.at("name"),
          .mac = object.at("mac"),
          .mtu = mtu_from(object.at("mtu")),
          .addresses = object.at("addresses"),
          .host_name = object.at("host_name"),
          .bridge = object.at("bridge")};
}

json json_of(const NetworkInterface& interface) {
  return {{"name", interface.name},           {"mac", interface.mac},
          {"mtu", interface.mtu},             {"addresses", interface.addresses},
          {"host_name", interface.host_name}, {"bridge", interface.bridge}};
}

NetworkSpec spec_from(const json& object) {
  NetworkSpec spec{.namespace_name = object.at("namespace"), .interfaces = {}, .routes = object.at("routes"),
                   .neighbours = object.at("neighbours")};
  for (const auto& one : object.at("interfaces")) spec.interfaces.push_back(interface_from(one));
  return spec;
}

}  // namespace

std::string to_json(const NetworkSpec& spec) {
  json interfaces = json::array();
  for (const auto& interface : spec.interfaces) interfaces.push_back(json_of(interface));
  return json{{"namespace", spec.namespace_name}, {"interfaces", interfaces}, {"routes", spec.routes},
              {"neighbours", spec.neighbours}}.dump();
}

NetworkSpec network_spec_from_json(const std::string& text) {
  require(text.size() <= kSpecBytesMax, "is too long");
  const auto bound_depth = [](int depth, json::parse_event_t, json&) {
    require(depth <= kSpecDepthMax, "is nested too deeply");
    return true;
  };
  try {
    NetworkSpec spec = spec_from(json::parse(text, bound_depth));
    check_spec(spec);
    return spec;
  } catch (const json::exception& failure) {
    refuse(std::string("is not understood: ") + failure.what());
  }
}

}  // namespace vmigrate

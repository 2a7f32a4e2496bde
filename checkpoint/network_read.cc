// SPDX-License-Identifier: GPL-2.0-or-later
// The network of a running container, as `ip` tells it from inside its namespace and from the host.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/subprocess.h"
#include "checkpoint/container_config.h"
#include "checkpoint/network.h"
#include "checkpoint/network_text.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto kIpTimeout = 10s;
const fs::path kNamespaces = "/run/netns";

[[noreturn]] void refuse(const std::string& sentence) { throw Error(Errc::unsupported_container, sentence); }

json ip(std::vector<std::string> argv) {
  const auto result = run_checked({.argv = std::move(argv), .timeout = kIpTimeout}, Errc::incompatible_host);
  return result.output.empty() ? json::array() : json::parse(result.output);
}

/// `ip -j -details OBJECT…` within the namespace of `pid`. Not `ip netns exec`, which would hide the cgroup mounts.
json ip_inside(pid_t pid, const std::vector<std::string>& words) {
  std::vector<std::string> argv = {"nsenter", "--net=/proc/" + std::to_string(pid) + "/ns/net", "ip", "-j", "-details"};
  argv.insert(argv.end(), words.begin(), words.end());
  return ip(std::move(argv));
}

bool is_same_file(const fs::path& one, const fs::path& other) {
  struct stat first{}, second{};
  return ::stat(one.c_str(), &first) == 0 && ::stat(other.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

/// Empty if the container has a namespace of its own that nobody gave a name.
std::string namespace_name(const ContainerInfo& container) {
  const fs::path path = network_namespace_of(read_config(container.bundle));
  const fs::path actual = "/proc/" + std::to_string(container.init_pid) + "/ns/net";
  if (is_same_file(actual, "/proc/self/ns/net")) refuse("container " + container.id + " uses the host's network");
  if (path.empty()) return {};
  const auto name = path.filename().string();
  // /var/run is a link to /run.
  if (fs::weakly_canonical(path.parent_path()) != fs::weakly_canonical(kNamespaces) || !is_namespace_name(name))
    refuse("the network namespace " + path.string() + " is not one that `ip netns` knows by a simple name");
  if (!is_same_file(path, actual))
    refuse("container " + container.id + " has left its network namespace " + path.string());
  return name;
}

std::string kind_of(const json& link) {
  return link.value("linkinfo", json::object()).value("info_kind", std::string());
}

/// The host's end of the veth with index `inner` whose peer has index `peer`.
std::optional<json> host_side(const json& host_links, int inner, int peer) {
  for (const auto& link : host_links)
    if (link.value("ifindex", 0) == peer && link.value("link_index", 0) == inner && kind_of(link) == "veth")
      return link;
  return std::nullopt;
}

bool is_bridge(const json& host_links, const std::string& name) {
  return std::any_of(host_links.begin(), host_links.end(), [&](const json& link) {
    return link.value("ifname", "") == name && kind_of(link) == "bridge";
  });
}

std::vector<std::string> addresses_of(const json& link) {
  std::vector<std::string> addresses;
  for (const auto& one : link.value("addr_info", json::array())) {
    const std::string local = one.value("local", "");
    if (!local.empty()) addresses.push_back(local + "/" + std::to_string(one.value("prefixlen", 0)));
  }
  return addresses;
}

NetworkInterface interface_from(const json& link, const json& host_links) {
  const std::string name = link.value("ifname", "");
  if (kind_of(link) != "veth") refuse("the container's interface " + name + " is no veth");
  const auto host = host_side(host_links, link.value("ifindex", 0), link.value("link_index", 0));
  if (!host) refuse("the other end of the container's interface " + name + " is not on this host");
  const std::string host_name = host->value("ifname", "");
  const std::string bridge = host->value("master", "");
  if (bridge.empty() || !is_bridge(host_links, bridge))
    refuse(host_name + ", the host side of " + name + ", is in no bridge");
  return {.name = name,
          .mac = link.value("address", ""),
          .mtu = link.value("mtu", 1500U),
          .addresses = addresses_of(link),
          .host_name = host_name,
          .bridge = bridge};
}

bool contains(const json& list, std::string_view wanted) {
  return std::any_of(list.begin(), list.end(), [&](const json& one) { return one == wanted; });
}

/// Nothing for a route that comes with its address.
std::optional<std::string> route_from(const json& route, bool is_v6) {
  std::string destination = route.value("dst", "");
  if (is_v6 && destination == "default") destination = "::/0";
  if (route.value("protocol", "") == "kernel") return std::nullopt;
  if (route.contains("nexthops") || !route.contains("dev") || route.value("type", "unicast") != "unicast")
    refuse("the container's route to " + destination + " is not of the plain kind");
  std::string text = destination;
  if (route.contains("gateway")) text += " via " + route.value("gateway", "");
  text += " dev " + route.value("dev", "");
  if (route.contains("prefsrc")) text += " src " + route.value("prefsrc", "");
  if (route.contains("metric")) text += " metric " + std::to_string(route.value("metric", 0U));
  if (contains(route.value("flags", json::array()), "onlink")) text += " onlink";
  return text;
}

bool goes_via(const std::string& route) { return route.find(" via ") != std::string::npos; }

std::vector<std::string> routes_inside(pid_t pid) {
  std::vector<std::string> routes;
  for (const bool is_v6 : {false, true})
    for (const auto& route : ip_inside(pid, {is_v6 ? "-6" : "-4", "route", "show", "table", "main"}))
      if (auto text = route_from(route, is_v6)) routes.push_back(*text);
  // A gateway must be reachable when its route is added.
  std::stable_partition(routes.begin(), routes.end(), [](const std::string& route) { return !goes_via(route); });
  return routes;
}

/// Those whose link address is known, as good as new: the first packet after the move must not wait for ARP.
std::vector<std::string> neighbours_inside(pid_t pid) {
  std::vector<std::string> neighbours;
  for (const auto& one : ip_inside(pid, {"neigh", "show"})) {
    const json state = one.value("state", json::array());
    if (!mac_from(one.value("lladdr", "")) || contains(state, "FAILED") || contains(state, "NOARP")) continue;
    const std::string nud = contains(state, "PERMANENT") ? "permanent" : "reachable";
    neighbours.push_back(one.value("dst", "") + " lladdr " + one.value("lladdr", "") + " dev " + one.value("dev", "") +
                         " nud " + nud);
  }
  return neighbours;
}

NetworkSpec read_blocking(const ContainerInfo& container) {
  NetworkSpec spec{.namespace_name = namespace_name(container)};
  const json links = ip_inside(container.init_pid, {"addr", "show"});
  const json host_links = ip({"ip", "-j", "-details", "link", "show"});
  for (const auto& link : links)
    if (link.value("link_type", "") != "loopback") spec.interfaces.push_back(interface_from(link, host_links));
  if (spec.namespace_name.empty()) {
    if (spec.interfaces.empty()) return {};
    refuse("the network namespace of container " + container.id +
           " has interfaces but no name: make it with `ip netns`");
  }
  spec.routes = routes_inside(container.init_pid);
  spec.neighbours = neighbours_inside(container.init_pid);
  // What the destination would refuse is better refused here.
  return network_spec_from_json(to_json(spec));
}

NetworkSpec read_or_explain(const ContainerInfo& container) {
  try {
    return read_blocking(container);
  } catch (const json::exception& failure) {
    throw Error(Errc::incompatible_host, std::string("the output of `ip -j` is not understood: ") + failure.what());
  } catch (const Error& error) {
    if (error.code_or(Errc::internal) != Errc::protocol_violation) throw;
    refuse(error.what());
  }
}

}  // namespace

Task<NetworkSpec> read_network(asio::thread_pool& pool, ContainerInfo container) {
  const auto work = [container] { return read_or_explain(container); };
  co_return co_await offload(pool, work);
}

}  // namespace vmigrate

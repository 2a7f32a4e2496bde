// SPDX-License-Identifier: GPL-2.0-or-later
// The destination's network, built before the pause and opened by one message at its end.
#include <algorithm>
#include <filesystem>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/subprocess.h"
#include "checkpoint/bridge_port.h"
#include "checkpoint/network.h"
#include "checkpoint/network_announce.h"
#include "checkpoint/network_text.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto kIpTimeout = 10s;
// The kernel tells it on in a moment, if at all; on a busy host that moment may be longer.
constexpr auto kBuildPatience = 2s;
constexpr auto kConnectPatience = 200ms;   // the container stands still meanwhile

void run_ip(std::vector<std::string> words, std::string batch = {}) {
  words.insert(words.begin(), "ip");
  if (!batch.empty()) words.insert(words.end(), {"-batch", "-"});
  run_checked({.argv = std::move(words), .input = std::move(batch), .timeout = kIpTimeout}, Errc::incompatible_host);
}

bool is_v6(const std::string& text) { return text.find(':') != std::string::npos; }
/// The MAC address of a neighbour has colons as well: only its first word counts.
bool is_v6_neighbour(const std::string& text) { return is_v6(text.substr(0, text.find(' '))); }

std::string namespace_path_of(const NetworkSpec& spec) {
  return spec.namespace_name.empty() ? std::string() : "/run/netns/" + spec.namespace_name;
}

std::string veths_batch(const NetworkSpec& spec) {
  std::string batch;
  for (const auto& one : spec.interfaces) {
    const std::string mtu = " mtu " + std::to_string(one.mtu);
    batch += "link add " + one.host_name + mtu + " type veth peer name " + one.name + " address " + one.mac + mtu +
             " netns " + spec.namespace_name + "\n";
    // Neither end makes up an address of its own: it would be probed for a second, and the router solicitations would
    // teach the switches our port too early.
    batch += "link set dev " + one.host_name + " addrgenmode none\n";
  }
  return batch;
}

std::string plug_batch(const NetworkSpec& spec) {
  std::string batch;
  for (const auto& one : spec.interfaces)
    batch += "link set dev " + one.host_name + " master " + one.bridge + " up\n";
  return batch;
}

std::string links_up_batch(const NetworkSpec& spec) {
  std::string batch = "link set dev lo up\n";
  for (const auto& one : spec.interfaces) {
    batch += "link set dev " + one.name + " addrgenmode none\n";
    batch += "link set dev " + one.name + " up\n";
  }
  return batch;
}

std::string addresses_batch(const NetworkSpec& spec) {
  std::string batch;
  for (const auto& one : spec.interfaces)
    for (const auto& address : one.addresses)
      batch += "address add " + address + " dev " + one.name + (is_v6(address) ? " nodad" : "") + "\n";
  return batch;
}

std::string routes_batch(const NetworkSpec& spec, bool v6) {
  std::string batch;
  for (const auto& route : spec.routes)
    if (is_v6(route) == v6) batch += "route replace " + route + "\n";
  for (const auto& neighbour : spec.neighbours)
    if (is_v6_neighbour(neighbour) == v6) batch += "neigh replace " + neighbour + "\n";
  return batch;
}

json host_links() {
  const auto result =
      run_checked({.argv = {"ip", "-j", "-details", "link", "show"}, .timeout = kIpTimeout}, Errc::incompatible_host);
  return json::parse(result.output);
}

const json* find_link(const json& links, const std::string& name) {
  for (const auto& link : links)
    if (link.value("ifname", "") == name) return &link;
  return nullptr;
}

/// The links come up without addresses, so that nothing is sent through the ports before they are closed. A port is
/// opened by the kernel whenever its carrier appears: it is closed after both ends are up.
void build_links(const NetworkSpec& spec) {
  run_ip({"netns", "add", spec.namespace_name});
  if (!spec.interfaces.empty()) run_ip({}, veths_batch(spec));
  run_ip({"-n", spec.namespace_name}, links_up_batch(spec));
  if (!spec.interfaces.empty()) run_ip({}, plug_batch(spec));
}

bool is_closed(const json& link) {
  const json port = link.value("linkinfo", json::object()).value("info_slave_data", json::object());
  return port.value("state", "") == "disabled" || link.value("operstate", "") == "DOWN";
}

void close_ports(const NetworkSpec& spec) {
  for (const auto& one : spec.interfaces) close_bridge_port(one.host_name);
  const json links = host_links();
  for (const auto& one : spec.interfaces) {
    const json* link = find_link(links, one.host_name);
    if (link == nullptr || !is_closed(*link))
      throw Error(Errc::incompatible_host, "the bridge port " + one.host_name + " does not stay closed");
  }
}

void assign_addresses(const NetworkSpec& spec) {
  const std::string& name = spec.namespace_name;
  const auto addresses = addresses_batch(spec);
  const auto v4 = routes_batch(spec, false);
  const auto v6 = routes_batch(spec, true);
  if (!addresses.empty()) run_ip({"-n", name}, addresses);
  if (!v4.empty()) run_ip({"-4", "-n", name}, v4);
  if (!v6.empty()) run_ip({"-6", "-n", name}, v6);
}

void check_blocking(const NetworkSpec& spec) {
  if (spec.namespace_name.empty()) return;
  if (fs::exists(namespace_path_of(spec)))
    throw Error(Errc::already_exists, "this host has a network namespace " + spec.namespace_name + " already");
  const json links = host_links();
  for (const auto& one : spec.interfaces) {
    if (find_link(links, one.host_name) != nullptr)
      throw Error(Errc::already_exists, "this host has a network interface " + one.host_name + " already");
    const json* bridge = find_link(links, one.bridge);
    if (bridge == nullptr || bridge->value("linkinfo", json::object()).value("info_kind", "") != "bridge")
      throw Error(Errc::unsupported_container, "this host has no bridge " + one.bridge + " for the container's " +
                                                   one.name + ": make one, connected to the network of the source's");
  }
}

bool is_anything_left_of(const NetworkSpec& spec) {
  const json links = host_links();
  const auto is_there = [&](const auto& one) { return find_link(links, one.host_name) != nullptr; };
  return std::ranges::any_of(spec.interfaces, is_there) || fs::exists(namespace_path_of(spec));
}

/// Deletes what exists of it; says whether it has gone, be it by somebody else.
bool remove_blocking(const NetworkSpec& spec) {
  if (spec.namespace_name.empty()) return true;
  bool has_failed = false;
  const auto remove = [&](std::vector<std::string> words) {
    has_failed |= run_command({.argv = std::move(words), .timeout = kIpTimeout}).exit_status != 0;
  };
  const json links = host_links();
  // The other end goes with it, even while a process keeps the namespace alive.
  for (const auto& one : spec.interfaces)
    if (find_link(links, one.host_name) != nullptr) remove({"ip", "link", "delete", "dev", one.host_name});
  if (fs::exists(namespace_path_of(spec))) remove({"ip", "netns", "delete", spec.namespace_name});
  return !has_failed || !is_anything_left_of(spec);
}

class BuiltNetwork final : public PreparedNetwork {
 public:
  /// Builds it, after check_network().
  explicit BuiltNetwork(NetworkSpec spec)
      : spec_(std::move(spec)),
        path_(namespace_path_of(spec_)) {
    if (spec_.namespace_name.empty()) return;
    try {
      build_links(spec_);
      announcer_.emplace(spec_);
      if (!announcer_->wait_for_carrier(kBuildPatience))
        throw Error(Errc::incompatible_host, "the new veths have no carrier");
      close_ports(spec_);
      assign_addresses(spec_);
    } catch (...) {
      remove_everything();
      throw;
    }
  }
  struct IsThere {};
  /// Takes over what is there.
  BuiltNetwork(NetworkSpec spec, IsThere) : spec_(std::move(spec)), path_(namespace_path_of(spec_)) {
    if (!spec_.namespace_name.empty()) announcer_.emplace(spec_);
  }
  BuiltNetwork(const BuiltNetwork&) = delete;
  BuiltNetwork& operator=(const BuiltNetwork&) = delete;
  ~BuiltNetwork() override {
    if (!is_kept_) remove_everything();
  }

  const std::string& namespace_path() const override { return path_; }

  void connect() override {
    for (const auto& one : spec_.interfaces) open_bridge_port(one.host_name);
    if (!announcer_) return;
    // It is there already unless the spanning tree protocol made us take the link down; what is sent without one is
    // lost.
    if (!announcer_->wait_for_carrier(kConnectPatience))
      log(LogLevel::warn, "event=no_carrier namespace=" + spec_.namespace_name);
    announcer_->announce();
  }

  void announce() noexcept override {
    if (announcer_) announcer_->announce();
  }

  void keep() noexcept override { is_kept_ = true; }

 private:
  void remove_everything() noexcept {
    try {
      if (remove_blocking(spec_)) return;
      log(LogLevel::warn, "event=network_left_behind namespace=" + spec_.namespace_name);
    } catch (const std::exception& failure) {
      log(LogLevel::warn, "event=network_left_behind namespace=" + spec_.namespace_name + " why=" + failure.what());
    }
  }

  NetworkSpec spec_;
  std::string path_;
  std::optional<Announcer> announcer_;
  bool is_kept_ = false;
};

std::unique_ptr<PreparedNetwork> build(NetworkSpec spec) {
  check_blocking(spec);
  return std::make_unique<BuiltNetwork>(std::move(spec));
}

bool is_there(const NetworkSpec& spec) {
  return spec.namespace_name.empty() || fs::exists(namespace_path_of(spec));
}

std::unique_ptr<PreparedNetwork> adopt_or_build(NetworkSpec spec) {
  if (!is_there(spec)) return build(std::move(spec));
  return std::make_unique<BuiltNetwork>(std::move(spec), BuiltNetwork::IsThere{});
}

}  // namespace

Task<> check_network(asio::thread_pool& pool, NetworkSpec spec) {
  const auto work = [spec] { check_blocking(spec); };
  co_await offload(pool, work);
}

Task<std::unique_ptr<PreparedNetwork>> prepare_network(asio::thread_pool& pool, NetworkSpec spec) {
  const auto work = [spec] { return build(spec); };
  co_return co_await offload(pool, work);
}

Task<std::unique_ptr<PreparedNetwork>> adopt_network(asio::thread_pool& pool, NetworkSpec spec) {
  const auto work = [spec] { return adopt_or_build(spec); };
  co_return co_await offload(pool, work);
}

Task<> remove_network(asio::thread_pool& pool, NetworkSpec spec) {
  const auto work = [spec] { return remove_blocking(spec); };
  const bool is_gone = co_await offload(pool, work);
  if (!is_gone) throw Error(EBUSY, "remove network namespace", spec.namespace_name);
}

}  // namespace vmigrate

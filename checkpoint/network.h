// SPDX-License-Identifier: GPL-2.0-or-later
// The container's network: an own namespace, by path in its config, with veths into bridges (what CNI's bridge plugin
// makes).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/async.h"
#include "checkpoint/container_runtime.h"

namespace vmigrate {

/// One veth of the container and where its host side is plugged in. Addresses and routes in `ip` notation.
struct NetworkInterface {
  std::string name;                     ///< inside, e.g. "eth0"
  std::string mac;
  std::uint32_t mtu = 1500;
  std::vector<std::string> addresses;   ///< "10.77.0.10/24", "fd00::10/64"
  std::string host_name;                ///< the host side, e.g. "veth-redis"
  std::string bridge;                   ///< the bridge the host side is a port of
};
/// Everything that has to exist on the destination before CRIU restores sockets into it.
struct NetworkSpec {
  std::string namespace_name;           ///< below /run/netns; empty: no own namespace with interfaces to move
  std::vector<NetworkInterface> interfaces;
  std::vector<std::string> routes;      ///< arguments of `ip route add`, e.g. "default via 10.77.0.1 dev eth0"
  std::vector<std::string> neighbours;  ///< arguments of `ip neigh replace`, so that no ARP is needed after the move
};

/// To and from JSON; parsing checks every field and throws Error(Errc::protocol_violation).
std::string to_json(const NetworkSpec& spec);
NetworkSpec network_spec_from_json(const std::string& json);

/// Reads the network of a running container. Throws Error(Errc::unsupported_container) naming what cannot be moved: the
/// host's namespace, an interface that is no veth, a host side that is in no bridge.
Task<NetworkSpec> read_network(asio::thread_pool& pool, ContainerInfo container);
/// Throws Error(Errc::unsupported_container) or already_exists if `prepare_network` could not succeed here. Changes
/// nothing.
Task<> check_network(asio::thread_pool& pool, NetworkSpec spec);

/// The source's side: the bridge ports of the host-side links are closed from construction on, so that no packet
/// reaches sockets that were already written down. The links keep their carrier, for the neighbour table's sake.
class NetworkHold {
 public:
  virtual ~NetworkHold() = default;     ///< opens the ports unless kept; logs a failure
  /// The container is gone: leave the ports closed.
  virtual void keep_down() noexcept = 0;
};
/// Throws Error; then the ports are as they were.
std::unique_ptr<NetworkHold> hold_network(const NetworkSpec& spec);
/// What an agent that died held, as far as the links are there still. Throws Error; then what was closed stays closed.
std::unique_ptr<NetworkHold> hold_network_again(const NetworkSpec& spec);

/// The destination's side: namespace, veths, addresses, routes and neighbours exist, host sides plugged in but their
/// ports closed. Removed on destruction unless kept.
class PreparedNetwork {
 public:
  virtual ~PreparedNetwork() = default;
  virtual const std::string& namespace_path() const = 0;
  /// Ports open, then a gratuitous ARP and unsolicited NA for each address. Fast: no process is started.
  virtual void connect() = 0;
  /// Repeats the announcement; call a few times in the second after connect().
  virtual void announce() noexcept = 0;
  virtual void keep() noexcept = 0;
};
Task<std::unique_ptr<PreparedNetwork>> prepare_network(asio::thread_pool& pool, NetworkSpec spec);

/// The same of what a dead agent has prepared; built anew if it is gone.
Task<std::unique_ptr<PreparedNetwork>> adopt_network(asio::thread_pool& pool, NetworkSpec spec);

/// Removes the namespace and the veths of a container that is gone from here, so that it can come back one day.
/// Idempotent. Throws Error.
Task<> remove_network(asio::thread_pool& pool, NetworkSpec spec);

}  // namespace vmigrate

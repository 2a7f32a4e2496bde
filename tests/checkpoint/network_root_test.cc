// SPDX-License-Identifier: GPL-2.0-or-later
// Real bridges and veths, in a network namespace of the test's own.
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "base/error.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "checkpoint/network.h"
#include "tests/catch.h"
#include "tests/checkpoint/test_container.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

/// A bridge with one veth "wire" in a network namespace that the whole test program has entered: threads started from
/// now on are in it, too.
class BridgeWorld {
 public:
  BridgeWorld() : outside_(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {
    check_syscall(::unshare(CLONE_NEWNET), "unshare");
    run_checked(
        {.argv = {"ip", "-batch", "-"},
         .input = "link add vmtbr0 type bridge forward_delay 0\nlink set vmtbr0 up\n"
                  "link add wire0 type veth peer name wire1\nlink set wire0 master vmtbr0 up\nlink set wire1 up\n"},
        Errc::internal);
  }
  BridgeWorld(const BridgeWorld&) = delete;
  BridgeWorld& operator=(const BridgeWorld&) = delete;
  ~BridgeWorld() { ::setns(outside_.get(), CLONE_NEWNET); }

 private:
  UniqueFd outside_;
};

NetworkSpec spec() {
  return {.namespace_name = "vmtest-net-" + std::to_string(::getpid()),
          .interfaces = {{.name = "eth0", .mac = "02:77:00:00:00:0a", .mtu = 1400,
                          .addresses = {"10.77.0.10/24", "fd00::10/64"}, .host_name = "vmt-v0", .bridge = "vmtbr0"}},
          .routes = {"10.9.0.0/16 dev eth0", "default via 10.77.0.1 dev eth0", "::/0 via fd00::1 dev eth0"},
          .neighbours = {"10.77.0.1 lladdr 02:77:01:00:00:01 dev eth0 nud reachable",
                         "fd00::1 lladdr 02:77:01:00:00:01 dev eth0 nud permanent"}};
}

std::string ip_inside(const std::string& name, const std::vector<std::string>& words) {
  std::vector<std::string> argv = {"ip", "-n", name};
  argv.insert(argv.end(), words.begin(), words.end());
  return run_command({.argv = argv}).output;
}

/// Listens at the far end of the wire.
class Listener {
 public:
  Listener() : socket_(check_syscall(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)), "socket")) {
    sockaddr_ll at{};
    at.sll_family = AF_PACKET;
    at.sll_protocol = htons(ETH_P_ALL);
    at.sll_ifindex = static_cast<int>(::if_nametoindex("wire1"));
    check_syscall(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), "bind");
  }
  /// Frames from the container's MAC address within 50 ms, one letter each: A for ARP, N for a neighbour
  /// advertisement. The kernel's own multicast reports, which come when they like, are left out.
  std::string heard() {
    std::string kinds;
    const auto end = std::chrono::steady_clock::now() + 50ms;
    while (std::chrono::steady_clock::now() < end) {
      std::array<std::uint8_t, 2048> frame{};
      if (::recv(socket_.get(), frame.data(), frame.size(), MSG_DONTWAIT) < 14) {
        std::this_thread::sleep_for(1ms);
        continue;
      }
      if (frame[6] != 2 || frame[7] != 0x77 || frame[11] != 10) continue;
      if (frame[12] == 0x08) kinds += 'A';
      if (frame[12] == 0x86 && frame[20] == 58 && frame[54] == 136) kinds += 'N';
    }
    return kinds;
  }

 private:
  UniqueFd socket_;
};

}  // namespace

TEST_CASE("a prepared network is complete, silent, and gone when it is not kept", "[checkpoint][root]") {
  const BridgeWorld bridge;
  asio::thread_pool pool(1);
  Listener listener;
  const auto wanted = spec();
  {
    const auto network = run_task(prepare_network(pool, wanted));
    CHECK(network->namespace_path() == "/run/netns/" + wanted.namespace_name);
    const auto addresses = ip_inside(wanted.namespace_name, {"address"});
    CHECK(addresses.find("10.77.0.10/24") != std::string::npos);
    CHECK(addresses.find("fd00::10/64") != std::string::npos);
    CHECK(addresses.find("02:77:00:00:00:0a") != std::string::npos);
    CHECK(addresses.find("mtu 1400") != std::string::npos);
    CHECK(ip_inside(wanted.namespace_name, {"route"}).find("default via 10.77.0.1") != std::string::npos);
    CHECK(ip_inside(wanted.namespace_name, {"-6", "route"}).find("default via fd00::1") != std::string::npos);
    network->announce();
    CHECK(listener.heard() == "");
    CHECK_THROWS_AS(run_task(check_network(pool, wanted)), Error);
  }
  CHECK_FALSE(std::filesystem::exists("/run/netns/" + wanted.namespace_name));
  CHECK_NOTHROW(run_task(check_network(pool, wanted)));
}

TEST_CASE("connecting a network tells the bridges at once and keeps the neighbours", "[checkpoint][root]") {
  const BridgeWorld bridge;
  asio::thread_pool pool(1);
  const auto wanted = spec();
  const auto network = run_task(prepare_network(pool, wanted));
  Listener listener;
  const auto start = std::chrono::steady_clock::now();
  network->connect();
  const auto took = std::chrono::steady_clock::now() - start;
  CHECK(listener.heard() == "AAN");
  WARN("connect() took " << std::chrono::duration_cast<std::chrono::microseconds>(took).count() << " us");
  CHECK(ip_inside(wanted.namespace_name, {"neigh"}).find("10.77.0.1 dev eth0 lladdr 02:77:01:00:00:01") !=
        std::string::npos);
  network->announce();
  CHECK(listener.heard() == "AAN");
}

TEST_CASE("a held network is silent, and goes on with its neighbours", "[checkpoint][root]") {
  const BridgeWorld bridge;
  asio::thread_pool pool(1);
  const auto wanted = spec();
  const auto network = run_task(prepare_network(pool, wanted));
  network->connect();
  Listener listener;
  {
    const auto hold = hold_network(wanted);
    network->announce();
    CHECK(listener.heard() == "");
  }
  network->announce();
  CHECK(listener.heard() == "AAN");
  CHECK(ip_inside(wanted.namespace_name, {"neigh"}).find("10.77.0.1 dev eth0 lladdr 02:77:01:00:00:01") !=
        std::string::npos);
  hold_network(wanted)->keep_down();
  network->announce();
  CHECK(listener.heard() == "");
}

TEST_CASE("the network of a container is read as it was prepared", "[checkpoint][root]") {
  const BridgeWorld bridge;
  asio::thread_pool pool(1);
  TestContainer container(pool, "runc", "ticks", spec());
  const auto found = run_task(read_network(pool, container.info()));
  CHECK(found.namespace_name == container.id());
  REQUIRE(found.interfaces.size() == 1);
  const auto wanted = spec().interfaces[0];
  CHECK(found.interfaces[0].name == wanted.name);
  CHECK(found.interfaces[0].mac == wanted.mac);
  CHECK(found.interfaces[0].mtu == wanted.mtu);
  CHECK(found.interfaces[0].addresses == wanted.addresses);
  CHECK(found.interfaces[0].host_name == wanted.host_name);
  CHECK(found.interfaces[0].bridge == wanted.bridge);
  for (const auto& route : found.routes) UNSCOPED_INFO(route);
  CHECK(found.routes.size() == 3);
  CHECK(found.neighbours.size() == 2);
}

TEST_CASE("a kept network stays until it is removed", "[checkpoint][root]") {
  const BridgeWorld bridge;
  asio::thread_pool pool(1);
  const auto wanted = spec();
  run_task(prepare_network(pool, wanted))->keep();
  CHECK(std::filesystem::exists("/run/netns/" + wanted.namespace_name));
  run_task(remove_network(pool, wanted));
  CHECK_NOTHROW(run_task(remove_network(pool, wanted)));
  CHECK_NOTHROW(run_task(check_network(pool, wanted)));
}

TEST_CASE("without the bridge nothing is prepared and nothing is left", "[checkpoint][root]") {
  const BridgeWorld bridge;
  asio::thread_pool pool(1);
  auto wanted = spec();
  wanted.interfaces[0].bridge = "no-bridge";
  CHECK_THROWS_AS(run_task(prepare_network(pool, wanted)), Error);
  CHECK_FALSE(std::filesystem::exists("/run/netns/" + wanted.namespace_name));
  CHECK_THROWS_AS(hold_network(wanted), Error);
}

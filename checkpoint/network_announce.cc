// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/network_announce.h"

#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <span>
#include <thread>

#include "base/error.h"
#include "checkpoint/link_state.h"

namespace vmigrate {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr MacAddress kEveryone = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr MacAddress kAllNodesMac = {0x33, 0x33, 0, 0, 0, 1};
constexpr std::array<std::uint8_t, 16> kAllNodes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
constexpr std::uint8_t kNextHeaderIcmpV6 = 58;
constexpr std::uint8_t kArpRequest = 1;
constexpr std::uint8_t kArpReply = 2;

void append(Frame& frame, Bytes bytes) { frame.insert(frame.end(), bytes.begin(), bytes.end()); }
void append(Frame& frame, std::initializer_list<std::uint8_t> bytes) { frame.insert(frame.end(), bytes); }

Frame ethernet(const MacAddress& to, const MacAddress& from, std::initializer_list<std::uint8_t> type) {
  Frame frame;
  append(frame, to);
  append(frame, from);
  append(frame, type);
  return frame;
}

/// RFC 826 with sender and target the same address (RFC 5227, 3).
Frame gratuitous_arp(const MacAddress& mac, Bytes address, std::uint8_t operation) {
  Frame frame = ethernet(kEveryone, mac, {0x08, 0x06});
  append(frame, {0, 1, 0x08, 0, 6, 4, 0, operation});
  append(frame, mac);
  append(frame, address);
  append(frame, operation == kArpReply ? kEveryone : MacAddress{});
  append(frame, address);
  return frame;
}

std::uint16_t ones_complement_sum(const Frame& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at + 1 < bytes.size(); at += 2)
    sum += static_cast<std::uint32_t>(bytes[at] << 8 | bytes[at + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

/// RFC 4861, 4.4 and 7.2.6: to all nodes, with the override flag and the link address as an option.
Frame unsolicited_advertisement(const MacAddress& mac, Bytes address) {
  constexpr std::uint8_t kOverride = 0x20;
  Frame message;
  append(message, {136, 0, 0, 0, kOverride, 0, 0, 0});
  append(message, address);
  append(message, {2, 1});
  append(message, mac);
  const auto length = static_cast<std::uint8_t>(message.size());
  Frame summed;
  append(summed, address);
  append(summed, kAllNodes);
  append(summed, {0, 0, 0, length, 0, 0, 0, kNextHeaderIcmpV6});
  append(summed, message);
  const std::uint16_t checksum = ones_complement_sum(summed);
  message[2] = static_cast<std::uint8_t>(checksum >> 8);
  message[3] = static_cast<std::uint8_t>(checksum & 0xff);

  Frame frame = ethernet(kAllNodesMac, mac, {0x86, 0xdd});
  append(frame, {0x60, 0, 0, 0, 0, length, kNextHeaderIcmpV6, 255});
  append(frame, address);
  append(frame, kAllNodes);
  append(frame, message);
  return frame;
}

/// Runs `action` on a thread of its own that has entered the namespace and takes it along when it ends.
void within_namespace(const std::string& name, const auto& action) {
  const std::string path = "/run/netns/" + name;
  const UniqueFd fd(check_syscall(::open(path.c_str(), O_RDONLY | O_CLOEXEC), "open", path));
  std::exception_ptr failure;
  std::thread([&] {
    try {
      check_syscall(::setns(fd.get(), CLONE_NEWNET), "setns", path);
      action();
    } catch (const std::exception&) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

std::vector<Frame> announcement_of(const MacAddress& mac, const IpAddress& address) {
  const Bytes bytes(address.bytes);
  if (address.is_v6) return {unsolicited_advertisement(mac, bytes)};
  return {gratuitous_arp(mac, bytes.first(4), kArpRequest), gratuitous_arp(mac, bytes.first(4), kArpReply)};
}

Announcer::Port Announcer::open_port(const NetworkInterface& interface) {
  Port port{.name = interface.name,
            .index = static_cast<int>(::if_nametoindex(interface.name.c_str())),
            .socket = {},
            .frames = {}};
  if (port.index == 0) throw Error(errno, "find network interface", interface.name);
  // Protocol 0: it receives nothing.
  port.socket = UniqueFd(check_syscall(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), "socket(AF_PACKET)"));
  const auto mac = mac_from(interface.mac);
  for (const auto& text : interface.addresses) {
    const auto address = address_of_prefix(text);
    if (!mac || !address) throw Error(Errc::usage, "interface " + interface.name + " has an unusable address");
    for (auto& frame : announcement_of(*mac, *address)) port.frames.push_back(std::move(frame));
  }
  return port;
}

Announcer::Announcer(const NetworkSpec& spec) {
  if (spec.interfaces.empty()) return;
  within_namespace(spec.namespace_name, [&] {
    for (const auto& interface : spec.interfaces) ports_.push_back(open_port(interface));
  });
}

bool Announcer::wait_for_carrier(std::chrono::milliseconds patience) const {
  return std::all_of(ports_.begin(), ports_.end(), [patience](const Port& port) {
    return wait_until_running(port.socket.get(), port.name, patience);
  });
}

std::size_t Announcer::announce() const noexcept {
  std::size_t sent = 0;
  for (const auto& port : ports_) {
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = port.index;
    for (const auto& frame : port.frames) {
      const ssize_t count = ::sendto(port.socket.get(), frame.data(), frame.size(), MSG_DONTWAIT,
                                     reinterpret_cast<const sockaddr*>(&to), sizeof to);
      if (count == static_cast<ssize_t>(frame.size())) ++sent;
    }
  }
  return sent;
}

}  // namespace vmigrate

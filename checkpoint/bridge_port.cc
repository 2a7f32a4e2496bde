// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/bridge_port.h"

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/unique_fd.h"
#include "checkpoint/link_state.h"

namespace vmigrate {
namespace {

constexpr std::chrono::milliseconds kCarrierTimeout{100};

struct PortStateRequest {
  nlmsghdr header{};
  ifinfomsg link{};
  rtattr protocol_info{};
  rtattr attribute{};
  std::uint8_t state = 0;
  std::array<std::uint8_t, 3> padding{};
};
static_assert(sizeof(PortStateRequest) == 16 + 16 + 4 + 4 + 4);

struct Acknowledgement {
  nlmsghdr header{};
  nlmsgerr error{};
};

PortStateRequest request_for(int index, std::uint8_t state) {
  PortStateRequest request;
  request.header = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_SETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
                    .nlmsg_seq = 1, .nlmsg_pid = 0};
  request.link.ifi_family = AF_BRIDGE;
  request.link.ifi_index = index;
  request.protocol_info = {.rta_len = 12, .rta_type = IFLA_PROTINFO | NLA_F_NESTED};
  request.attribute = {.rta_len = 5, .rta_type = IFLA_BRPORT_STATE};
  request.state = state;
  return request;
}

UniqueFd netlink_socket() {
  UniqueFd socket(check_syscall(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "socket(AF_NETLINK)"));
  const timeval patience{.tv_sec = 5, .tv_usec = 0};
  check_syscall(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience),
                "setsockopt(SO_RCVTIMEO)");
  return socket;
}

/// Returns 0 or an errno of the kernel's answer.
int set_port_state(const std::string& name, std::uint8_t state) {
  const auto index = ::if_nametoindex(name.c_str());
  if (index == 0) throw Error(errno, "find network interface", name);
  const UniqueFd socket = netlink_socket();
  const PortStateRequest request = request_for(static_cast<int>(index), state);
  check_syscall(::send(socket.get(), &request, sizeof request, 0), "send(RTM_SETLINK)", name);
  std::array<std::byte, 4096> buffer;
  const int count = check_syscall(::recv(socket.get(), buffer.data(), buffer.size(), 0), "recv(RTM_SETLINK)", name);
  Acknowledgement answer;
  if (static_cast<std::size_t>(count) < sizeof answer) throw Error(EPROTO, "recv(RTM_SETLINK)", name);
  std::memcpy(&answer, buffer.data(), sizeof answer);
  if (answer.header.nlmsg_type != NLMSG_ERROR) throw Error(EPROTO, "recv(RTM_SETLINK)", name);
  return -answer.error.error;
}

UniqueFd control_socket() { return UniqueFd(check_syscall(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket")); }

}  // namespace

void close_bridge_port(const std::string& name) {
  // The kernel opens a port when it notices the carrier, which may be a moment after the link came up.
  wait_until_running(control_socket().get(), name, kCarrierTimeout);
  const int failure = set_port_state(name, BR_STATE_DISABLED);
  // EBUSY: the spanning tree protocol decides. EOPNOTSUPP or EINVAL: it is in no bridge any more.
  if (failure != 0) set_link_down(control_socket().get(), name);
}

void open_bridge_port(const std::string& name) {
  const UniqueFd socket = control_socket();
  if (!is_link_running(socket.get(), name)) return set_link_up(socket.get(), name);
  const int failure = set_port_state(name, BR_STATE_FORWARDING);
  if (failure != 0 && failure != EBUSY) throw Error(failure, "open bridge port", name);
}

}  // namespace vmigrate

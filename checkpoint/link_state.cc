// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/link_state.h"

#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <thread>

#include "base/error.h"

namespace vmigrate {
namespace {

ifreq request_for(const std::string& name) {
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) throw Error(ENAMETOOLONG, "network interface", name);
  name.copy(request.ifr_name, name.size());
  return request;
}

short flags_of(int socket, const std::string& name) {
  ifreq request = request_for(name);
  check_syscall(::ioctl(socket, SIOCGIFFLAGS, &request), "ioctl(SIOCGIFFLAGS)", name);
  return request.ifr_flags;
}

void set_flags(int socket, const std::string& name, short flags) {
  ifreq request = request_for(name);
  request.ifr_flags = flags;
  check_syscall(::ioctl(socket, SIOCSIFFLAGS, &request), "ioctl(SIOCSIFFLAGS)", name);
  if ((flags_of(socket, name) & IFF_UP) != (flags & IFF_UP))
    throw Error(EIO, "change the state of network interface", name);
}

}  // namespace

void set_link_up(int socket, const std::string& name) {
  set_flags(socket, name, static_cast<short>(flags_of(socket, name) | IFF_UP));
}

void set_link_down(int socket, const std::string& name) {
  set_flags(socket, name, static_cast<short>(flags_of(socket, name) & ~IFF_UP));
}

bool is_link_running(int socket, const std::string& name) {
  constexpr short kBoth = IFF_UP | IFF_RUNNING;
  return (flags_of(socket, name) & kBoth) == kBoth;
}

bool wait_until_running(int socket, const std::string& name, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!is_link_running(socket, name)) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return true;
}

}  // namespace vmigrate

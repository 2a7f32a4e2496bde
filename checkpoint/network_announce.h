// SPDX-License-Identifier: GPL-2.0-or-later
// Gratuitous ARP and unsolicited neighbour advertisements: the bridges and neighbours learn where an address lives now.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "checkpoint/network.h"
#include "checkpoint/network_text.h"

namespace vmigrate {

using Frame = std::vector<std::uint8_t>;

/// The frames for one address: ARP as request and as reply (stacks differ in which one they believe), or an NA.
std::vector<Frame> announcement_of(const MacAddress& mac, const IpAddress& address);

/// Sends from inside a network namespace through the container's own interfaces, so that every bridge on the way learns
/// the port. The sockets are opened beforehand; sending starts no process and changes no namespace.
class Announcer {
 public:
  /// Throws Error.
  explicit Announcer(const NetworkSpec& spec);
  /// Waits until the interfaces have a carrier, `patience` at most for each. False if one has none.
  bool wait_for_carrier(std::chrono::milliseconds patience) const;
  /// Returns the number of frames sent.
  std::size_t announce() const noexcept;

 private:
  struct Port {
    std::string name;
    int index;
    UniqueFd socket;
    std::vector<Frame> frames;
  };
  static Port open_port(const NetworkInterface& interface);
  std::vector<Port> ports_;
};

}  // namespace vmigrate

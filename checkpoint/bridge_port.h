// SPDX-License-Identifier: GPL-2.0-or-later
// A port of a bridge, open or closed, by one netlink message.
#pragma once

#include <string>

namespace vmigrate {

/// Closed, a port neither receives nor sends a frame, yet the veth keeps its carrier: the routes and the neighbour
/// table at its other end survive, which they do not when the link goes down. Where the bridge runs the spanning tree
/// protocol, which does not share the decision, the link is taken down instead. Throws Error; returns once the kernel
/// has agreed.
void close_bridge_port(const std::string& name);
/// Undoes it, whichever of the two was done.
void open_bridge_port(const std::string& name);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// A network interface up or down, by one ioctl: no process is started.
#pragma once

#include <chrono>
#include <string>

namespace vmigrate {

/// Of the network namespace that `socket` was made in. Throws Error; returns once the kernel shows the new state.
void set_link_up(int socket, const std::string& name);
void set_link_down(int socket, const std::string& name);
/// Up and with a carrier: its peer is up, too.
bool is_link_running(int socket, const std::string& name);
/// Waits for that; false if it has not come after `timeout`.
bool wait_until_running(int socket, const std::string& name, std::chrono::milliseconds timeout);

}  // namespace vmigrate

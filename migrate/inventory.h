// SPDX-License-Identifier: GPL-2.0-or-later
// Which containers run on a host, and which of them cannot leave it: what `vmigrate --all` begins with.
#pragma once

#include <functional>

#include "migrate/cancellation.h"
#include "migrate/inventory_text.h"
#include "migrate/local_departure.h"
#include "transport/channel.h"

namespace vmigrate {

/// Every container that runs or is paused here and that `is_shown`. Changes nothing. Looks only at what is quickly
/// seen; the rest is for the migration's own preflight. Throws Error: criu_missing where there is no runtime, cancelled
/// between two containers.
Task<Inventory> take_inventory(LocalHost host, std::function<bool(const std::string&)> is_shown,
                               const Cancellation& cancellation);
/// The pieces that follow a List, joined. Throws Error: protocol_violation also for too many of them, timed_out unless
/// all of them come within `patience`.
Task<Inventory> receive_inventory(Channel& channel, Clock& clock, Duration patience);

}  // namespace vmigrate

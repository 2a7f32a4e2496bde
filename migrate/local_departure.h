// SPDX-License-Identifier: GPL-2.0-or-later
// A Departure made of the real parts: kernel, CRIU and disk of this host.
#pragma once

#include <memory>

#include "checkpoint/checkpointer.h"
#include "migrate/departure.h"
#include "migrate/state_dir.h"

namespace vmigrate {

/// What both kinds of session need of this host. Must outlive them.
struct LocalHost {
  const StateDir& state;
  asio::thread_pool& pool;
  ContainerRuntime& runtime;
  Checkpointer& checkpointer;
};

/// Finds the container and everything about it; refuses what cannot be moved, with the Errc of the reason. Changes
/// nothing, apart from the container's lock. `agent` is where Ask reaches this host's agent; empty if it has none.
Task<std::unique_ptr<Departure>> find_departure(LocalHost host, Request request, std::string agent);
/// A departure that a dead agent left, its container standing still if it may be the destination's. Throws
/// Error(Errc::busy) when somebody is at it.
Task<std::unique_ptr<Departure>> adopt_departure(LocalHost host, const Waybill& waybill);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// How the connections for blocks come about: whoever dialled the first one dials these.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "migrate/switchboard.h"

namespace vmigrate {

/// What --streams=0 means on this host: as many as its cores can keep busy, at most 4.
std::uint32_t default_streams();

using Channels = std::vector<std::unique_ptr<Channel>>;

using Dial = std::function<Task<std::unique_ptr<Channel>>()>;
/// Dials `count` times and joins migration `id`. Throws Error when the peer does not take part.
Task<Channels> dial_lanes(const Dial& dial, MigrationId id, std::uint32_t count);

struct Expected {
  Switchboard::Desk& desk;
  MigrationId id;
  std::uint32_t count;
};
/// Waits for connections to join. Throws Error(Errc::timed_out) when they do not come, and what `first` throws as soon
/// as the peer hangs up there. `heard` is what the peer said there meanwhile: when all have joined, it may go on at
/// once.
Task<Channels> receive_lanes(const Expected& expected, Channel& first, Clock& clock, std::optional<Message>& heard);

}  // namespace vmigrate

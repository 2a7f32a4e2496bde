// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/inventory.h"

#include <algorithm>

#include "checkpoint/container_config.h"
#include "engine/mounted_device.h"
#include "migrate/host_facts.h"

namespace vmigrate {
namespace {

/// A directory of a runtime may be called anything.
std::string printable(std::string name) {
  std::ranges::replace_if(name, [](char c) { return c < ' ' || c > '~'; }, '?');
  return name;
}

/// Throws Error with the reason why it cannot be moved.
void check_movable(const ContainerInfo& container) {
  if (container.status == ContainerStatus::paused)
    throw Error(Errc::container_not_running,
                "container " + container.id + " on " + host_name() + " is paused; resume it first");
  find_mounted_device(container.rootfs);
  check_config(read_config(container.bundle));
}

/// Nothing if it does not run.
Task<std::optional<InventoryEntry>> entry_of(LocalHost host, std::string id) {
  InventoryEntry entry{.container = printable(id)};
  std::exception_ptr thrown;
  try {
    const ContainerInfo container = co_await host.runtime.inspect(id);
    if (container.status != ContainerStatus::running && container.status != ContainerStatus::paused)
      co_return std::nullopt;
    const auto work = [&container] { check_movable(container); };
    co_await offload(host.pool, work);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (!thrown) co_return entry;
  entry.obstacle = failure_of(thrown, Errc::internal);
  if (entry.obstacle->code == Errc::unknown_container) co_return std::nullopt;   // it ended just now
  entry.obstacle->sentence = entry.obstacle->sentence.substr(0, kObstacleSentenceMax);
  co_return entry;
}

}  // namespace

Task<Inventory> take_inventory(LocalHost host, std::function<bool(const std::string&)> is_shown,
                               const Cancellation& cancellation) {
  std::vector<std::string> ids = co_await host.runtime.list();
  std::ranges::sort(ids);
  Inventory inventory;
  for (const auto& id : ids) {
    if (cancellation.is_requested()) throw Error(Errc::cancelled, "the list of containers was cancelled");
    auto entry = co_await entry_of(host, id);
    if (!entry) continue;
    if (is_shown(id)) inventory.entries.push_back(std::move(*entry));
    else ++inventory.hidden;
  }
  co_return inventory;
}

Task<Inventory> receive_inventory(Channel& channel, Clock& clock, Duration patience) {
  const TimePoint deadline = clock.now() + patience;
  Inventory all{.has_more = true};
  while (all.has_more) {
    const Duration left = deadline - clock.now();
    if (left <= Duration::zero())
      throw Error(Errc::timed_out, channel.peer_name() + " did not come to the end of its list of containers in time");
    channel.set_idle_timeout(left);
    const Listing listing = co_await expect<Listing>(channel);
    append(all, inventory_from_json(listing.json));
  }
  co_return all;
}

}  // namespace vmigrate

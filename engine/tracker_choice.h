// SPDX-License-Identifier: GPL-2.0-or-later
// Which write tracker: the kernel's if it can, else digests of every block.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/async.h"
#include "engine/device_volume.h"
#include "engine/digest_index.h"
#include "engine/write_tracker.h"

namespace vmigrate {

enum class TrackerKind { automatic, bpf, rescan };

struct ArmedTracker {
  std::unique_ptr<WriteTracker> tracker;
  std::string remark;   ///< why it is not the kernel's tracker; empty otherwise
};

/// Arms a tracker on a mounted device. `volume` and `digests` are what the rescan tracker reads and compares with; they
/// must outlive it. Throws Error(Errc::tracker_unavailable) when a kind was asked for that cannot run here, with the
/// reason.
ArmedTracker arm_tracker(TrackerKind kind, asio::thread_pool& pool, const MountedDevice& device, Volume& volume,
                         DigestIndex& digests);
/// Removes from the kernel what a dead process's tracker left on this device. Blocking.
void forget_tracker(asio::thread_pool& pool, const MountedDevice& device) noexcept;

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/tracker_choice.h"

#include "base/error.h"
#include "base/log.h"
#include "engine/tracker/bpf_write_tracker.h"
#include "engine/tracker/rescan_tracker.h"

namespace vmigrate {

ArmedTracker arm_tracker(TrackerKind kind, asio::thread_pool& pool, const MountedDevice& device, Volume& volume,
                         DigestIndex& digests) {
  if (kind == TrackerKind::rescan) return {std::make_unique<RescanTracker>(pool, volume, digests), {}};
  try {
    return {std::make_unique<BpfWriteTracker>(pool, device.device), {}};
  } catch (const Error& failure) {
    if (kind == TrackerKind::bpf || failure.code_or(Errc::internal) != Errc::tracker_unavailable) throw;
    log(LogLevel::warn, "event=tracker kind=rescan reason=\"" + std::string(failure.what()) + "\"");
    return {std::make_unique<RescanTracker>(pool, volume, digests), failure.what()};
  }
}

void forget_tracker(asio::thread_pool& pool, const MountedDevice& device) noexcept {
  try {
    BpfWriteTracker::adopt(pool, device.device).reset();
  } catch (const std::exception& failure) {
    log(LogLevel::debug, std::string("event=no_tracker_left reason=") + failure.what());
  }
}

}  // namespace vmigrate

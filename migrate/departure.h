// SPDX-License-Identifier: GPL-2.0-or-later
// One container about to leave this host: all that a migration does to it. The sessions see only this, so that a
// simulation can stand in for kernel, CRIU and disk.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "checkpoint/image_dir.h"
#include "engine/digest_index.h"
#include "engine/tracker_choice.h"
#include "engine/volume.h"
#include "migrate/documents.h"
#include "migrate/journal.h"
#include "migrate/waybill.h"

namespace vmigrate {

class Departure {
 public:
  virtual ~Departure() = default;

  /// What the destination is told. Stays as found.
  virtual const Offer& offer() const = 0;
  /// Held open, and thereby locked, while the departure exists.
  virtual Journal& journal() = 0;

  /// Writes down what an agent must know that comes after this one; the departure adds where its own things are. On
  /// stable storage when it returns.
  virtual void note(Waybill waybill) = 0;
  /// Nothing is left to be done about this migration. A note that cannot be removed is logged: whoever finds it ends
  /// the migration once more.
  virtual void forget() noexcept = 0;

  // While it runs.
  virtual Volume& volume() = 0;
  /// What was handed on so far.
  virtual DigestIndex& digests() = 0;
  virtual asio::thread_pool& pool() = 0;
  /// Discards unused space of the file system. Returns the bytes that became holes.
  virtual Task<std::uint64_t> trim() = 0;
  /// Starts remembering writes. The result must not outlive the departure.
  virtual Task<ArmedTracker> arm_tracker() = 0;
  /// Begins to measure what CPU time it uses. Returns what throttle() will change, for the waybill; nothing if it
  /// cannot be throttled.
  virtual std::optional<CpuLimit> watch_cpu() = 0;
  /// Gives it `percent` less CPU time than it used between watch_cpu() and the first call. Only once a waybill has what
  /// watch_cpu() returned. stop() and resume() undo it. Throws Error.
  virtual void throttle(unsigned percent) = 0;

  // Standing still.
  /// Links down, then every task frozen, and nothing throttled any more: CRIU works within its tasks, and the limits go
  /// with the checkpoint. On failure it runs as before.
  virtual Task<> stop() = 0;
  /// The processes, written down. Only while stopped.
  virtual Task<> dump() = 0;
  virtual const ImageDir& checkpoint() const = 0;
  /// True only if the kernel says that every task is frozen.
  virtual Task<bool> is_stopped() = 0;
  /// Undoes stop(), as far as it got, and throttle(). Before GIVEN only.
  virtual Task<> resume() = 0;

  // After GIVEN is recorded.
  /// From here on nothing thaws by going out of scope.
  virtual void fence() = 0;
  /// RELEASED is recorded: destroys the processes, unmounts, and renames the image. Returns the image's new name.
  virtual Task<std::string> release(MigrationId id) = 0;
  /// REFUSED is recorded on the other side: thaws. May be called again.
  virtual Task<> reclaim() = 0;
};

}  // namespace vmigrate

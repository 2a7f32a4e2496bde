// SPDX-License-Identifier: GPL-2.0-or-later
// Remembers which blocks were written.
#pragma once

#include <string_view>

#include "base/async.h"
#include "engine/block.h"
#include "engine/dirty_set.h"
#include "engine/volume.h"

namespace vmigrate {

/// Remembers which blocks of one volume were written, from construction to destruction.
///
/// Contract (argued in docs/dirty-tracking.md, tested for every implementation by
/// tests/contract/write_tracker_contract.h): a write that finished before drain_into() was called is in this drain or
/// an earlier one; a write that finishes during the call is in this drain or the next. No write is in neither. So:
/// drain first, then read the blocks. Discards and write-zeroes are writes.
class WriteTracker {
 public:
  virtual ~WriteTracker() = default;
  /// "bpf" or "rescan", as in --tracker and in reports.
  virtual std::string_view name() const = 0;
  virtual VolumeGeometry geometry() const = 0;
  /// Adds every block written since the last drain to `out`. Throws Error(Errc::tracking_lost) if the tracker cannot
  /// vouch for that; then the set is meaningless and every block has to be compared.
  virtual Task<> drain_into(DirtySet& out) = 0;
  /// Whether a drain takes what it reports: then the next one reports only what was written since. If not, what was not
  /// handed on meanwhile comes again.
  virtual bool forgets() const { return true; }
  /// The last drain, after which nothing is left: waits for writes still in flight (with a deadline) and checks
  /// that no write was missed since construction. The argument is the proof that this can be true.
  virtual Task<> drain_rest_into(DirtySet& out, const QuietVolume& quiet) = 0;
};

}  // namespace vmigrate

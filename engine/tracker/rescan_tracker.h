// SPDX-License-Identifier: GPL-2.0-or-later
// The write tracker that always works: it reads everything and compares.
#pragma once

#include "engine/digest_index.h"
#include "engine/write_tracker.h"

namespace vmigrate {

/// Calls a block written when its content differs from what `digests` recorded as handed on. Each drain reads every
/// block that may hold data, so it costs as much as a full copy without the sending; in exchange it trusts nothing but
/// the device. A block that was written with what it held before counts as not written. Who drains has to record in
/// `digests` what it copies, as VolumeCopier does, or the same blocks come again.
class RescanTracker final : public WriteTracker {
 public:
  /// All three must outlive this object.
  RescanTracker(asio::thread_pool& pool, Volume& volume, const DigestIndex& digests);

  std::string_view name() const override { return "rescan"; }
  VolumeGeometry geometry() const override { return volume_.geometry(); }
  bool forgets() const override { return false; }
  Task<> drain_into(DirtySet& out) override;
  Task<> drain_rest_into(DirtySet& out, const QuietVolume& quiet) override;

 private:
  Task<> compare_data(DirtySet& out, Extent extent);
  Task<> add_vanished_data(DirtySet& out, Extent hole);

  asio::thread_pool& pool_;
  Volume& volume_;
  const DigestIndex& digests_;
};

}  // namespace vmigrate

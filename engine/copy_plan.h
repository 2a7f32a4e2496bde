// SPDX-License-Identifier: GPL-2.0-or-later
// Cuts a set of blocks into batches, and tells holes from data.
#pragma once

#include <optional>

#include "engine/copy_batch.h"
#include "engine/dirty_set.h"

namespace vmigrate {

/// Walks a set of blocks once, upwards. What the volume said about holes is remembered, which is safe after a drain: a
/// block stops being a hole only by a write that completes later, and that write is in a later drain.
class CopyPlan {
 public:
  /// Both must outlive the plan.
  CopyPlan(const DirtySet& blocks, BlockSource& from) : blocks_(blocks), from_(from) {}

  /// Fills an empty batch with the next blocks; false when there are none.
  bool fill(CopyBatch& batch);
  /// Every block of the set before this one was put into some batch.
  BlockIndex position() const { return run_.first; }

 private:
  bool find_run();
  void find_data();
  void take_hole(CopyBatch& batch);
  void take_data(CopyBatch& batch);
  void skip(std::uint64_t count);

  const DirtySet& blocks_;
  BlockSource& from_;
  Extent run_;                    ///< blocks still to be taken
  Extent data_;                   ///< the first data at or after `run_`
  bool is_rest_a_hole_ = false;
};

}  // namespace vmigrate

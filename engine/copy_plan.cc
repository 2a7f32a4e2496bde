// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/copy_plan.h"

#include <algorithm>

namespace vmigrate {

bool CopyPlan::fill(CopyBatch& batch) {
  while (batch.room() > 0 && find_run()) {
    find_data();
    if (is_rest_a_hole_ || data_.first > run_.first) {
      take_hole(batch);
    } else {
      take_data(batch);
    }
  }
  return !batch.empty();
}

bool CopyPlan::find_run() {
  if (run_.count > 0) return true;
  const auto next = blocks_.next_run(run_.first);
  if (!next) return false;
  run_ = *next;
  return true;
}

void CopyPlan::find_data() {
  if (is_rest_a_hole_ || data_.end() > run_.first) return;
  const auto next = from_.next_data(run_.first);
  is_rest_a_hole_ = !next;
  if (next) data_ = *next;
}

void CopyPlan::take_hole(CopyBatch& batch) {
  const auto end = is_rest_a_hole_ ? run_.end() : std::min(run_.end(), data_.first);
  const Extent hole{run_.first, end.value - run_.first.value};
  batch.add_hole(hole);
  skip(hole.count);
}

void CopyPlan::take_data(CopyBatch& batch) {
  const auto end = std::min(run_.end(), data_.end());
  const Extent extent{run_.first, std::min(end.value - run_.first.value, batch.room())};
  batch.add_data(extent);
  skip(extent.count);
}

void CopyPlan::skip(std::uint64_t count) {
  run_.first.value += count;
  run_.count -= count;
}

}  // namespace vmigrate

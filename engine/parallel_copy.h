// SPDX-License-Identifier: GPL-2.0-or-later
// Copies one set of blocks over several lanes at once.
#pragma once

#include <condition_variable>
#include <mutex>
#include <span>

#include <boost/asio/any_io_executor.hpp>

#include "base/async.h"
#include "engine/copy_batch.h"
#include "engine/copy_plan.h"

namespace vmigrate {

/// A way to where the blocks go. Its thread may be kept waiting.
struct CopyLane {
  BlockSink* sink = nullptr;             ///< used on `executor` only; neither settle() nor flush() is called
  asio::any_io_executor executor = {};   ///< empty: whoever awaits copy() shares its own
};

/// Each lane takes the next batch of 1 MiB as soon as it has handed on its last one, reads, digests and hands it on: no
/// lane waits for another, and a batch stays in the cache of one core. Within one copy no block is handed on twice, so
/// the lanes need no order among them.
class ParallelCopy {
 public:
  struct Parts {
    BlockSource& from;
    DigestIndex& digests;
    std::span<const CopyLane> lanes;   ///< at least one
  };
  struct Totals {
    std::uint64_t data_bytes = 0;
    std::uint64_t zero_bytes = 0;
    BlockIndex copied_until;  ///< once copy() has returned: every block of the set before this one was handed on
  };
  explicit ParallelCopy(Parts parts) : parts_(parts) {}

  /// Hands on those of `blocks` that differ from the digests. Returns, or throws the first failure, when every lane has
  /// come to rest; destroyed while it is suspended, it waits for them as well, unless they share its executor. After a
  /// failure nothing is known of what was handed on but what the digests say.
  Task<> copy(const DirtySet& blocks);
  /// Lets copy() return as soon as what is on its way was handed on. From any thread.
  void end_early() noexcept;
  const Totals& totals() const { return totals_; }

 private:
  class Rest;

  Task<> work(BlockSink& sink, CopyPlan& plan);
  Task<> hand_on_and_record(const CopyBatch& batch, BlockSink& sink);
  bool take(CopyBatch& batch, CopyPlan& plan);
  void count(const CopyBatch& batch);
  void leave();

  Parts parts_;
  std::mutex mutex_;   // of what follows, and of the plan
  Totals totals_;
  bool is_stopping_ = false;
  std::size_t running_ = 0;          // lanes
  std::condition_variable at_rest_;
  bool is_ending_early_ = false;
};

}  // namespace vmigrate

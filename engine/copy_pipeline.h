// SPDX-License-Identifier: GPL-2.0-or-later
// Copies one set of blocks, reading ahead of the sink.
#pragma once

#include <array>
#include <exception>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/experimental/channel.hpp>

#include "base/async.h"
#include "engine/copy_batch.h"
#include "engine/copy_plan.h"
#include "engine/dirty_set.h"

namespace vmigrate {

/// One reader and one writer, with at most kBatches batches of 1 MiB between and in them, in order. The caller of
/// copy() is the writer; the reader is a coroutine of the same executor that never outlives copy().
class CopyPipeline {
 public:
  static constexpr std::size_t kBatches = 4;
  struct Parts {
    BlockSource& from;
    BlockSink& to;
    DigestIndex& digests;
    asio::thread_pool& pool;
  };
  struct Totals {
    std::uint64_t data_bytes = 0;
    std::uint64_t zero_bytes = 0;
    BlockIndex copied_until;  ///< every block of the set before this one was handed on and recorded
  };

  CopyPipeline(Parts parts, const asio::any_io_executor& executor);

  /// Hands on those of `blocks` that differ from the digests, once. When reading fails, what was read before is still
  /// handed on; when the sink fails, at most one more batch is read. Throws the first failure; totals() tells how far
  /// it came.
  Task<> copy(const DirtySet& blocks);
  /// Lets copy() return as soon as the batch that is on its way was handed on. On copy()'s executor.
  void end_early() noexcept { is_ending_early_ = true; }
  const Totals& totals() const { return totals_; }

 private:
  using Queue = asio::experimental::channel<void(boost::system::error_code, CopyBatch*)>;

  Task<> read_ahead(const DirtySet& blocks);
  Task<> hand_on_all();
  Task<> hand_on(const CopyBatch& batch);
  Task<> join_reader();

  Parts parts_;
  std::array<CopyBatch, kBatches> batches_;
  Queue free_;
  Queue ready_;  ///< with room for every batch and the end, so that nobody waits to put something in
  bool is_ending_early_ = false;
  bool is_stopping_ = false;
  bool is_reader_done_ = false;
  std::exception_ptr reader_failure_;
  Totals totals_;
};

}  // namespace vmigrate

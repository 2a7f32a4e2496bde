// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/copy_pipeline.h"

#include <tuple>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/assert.h"

namespace vmigrate {
namespace {

/// What comes after the last batch. Closing the queue instead would lose the batches still in it (Boost 1.81).
constexpr CopyBatch* kEnd = nullptr;
constexpr auto kAnswerAsTuple = asio::as_tuple(asio::use_awaitable);

}  // namespace

CopyPipeline::CopyPipeline(Parts parts, const asio::any_io_executor& executor)
    : parts_(parts), free_(executor, kBatches), ready_(executor, kBatches + 1) {
  for (auto& batch : batches_) free_.try_send(boost::system::error_code{}, &batch);
}

Task<> CopyPipeline::copy(const DirtySet& blocks) {
  asio::co_spawn(ready_.get_executor(), read_ahead(blocks), [this](std::exception_ptr failure) {
    reader_failure_ = failure;
    is_reader_done_ = true;
    ready_.try_send(boost::system::error_code{}, kEnd);
  });
  std::exception_ptr failure;
  try {
    co_await hand_on_all();
  } catch (...) {
    failure = std::current_exception();
  }
  // The reader uses what we own, so it is waited for even when we have been cancelled; every co_await would throw then.
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await join_reader();
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  if (!failure) failure = reader_failure_;
  if (failure) std::rethrow_exception(failure);
  MIGRATE_ASSERT(is_ending_early_ || !blocks.next_run(totals_.copied_until));
}

Task<> CopyPipeline::read_ahead(const DirtySet& blocks) {
  CopyPlan plan(blocks, parts_.from);
  for (;;) {
    const auto [closed, batch] = co_await free_.async_receive(kAnswerAsTuple);
    if (closed || is_stopping_) co_return;
    batch->clear();
    if (!plan.fill(*batch)) co_return;
    co_await parts_.from.read_each(batch->extents(), batch->bytes());
    co_await offload(parts_.pool, [this, batch = batch] { batch->examine(parts_.digests); });
    co_await ready_.async_send(boost::system::error_code{}, batch, asio::use_awaitable);
  }
}

/// Ends when the reader has ended, for whatever reason, and its last batch was handed on; or earlier, by end_early().
Task<> CopyPipeline::hand_on_all() {
  while (!is_ending_early_) {
    const auto batch = co_await ready_.async_receive(asio::use_awaitable);
    if (batch == kEnd) co_return;
    co_await hand_on(*batch);
    free_.try_send(boost::system::error_code{}, batch);
  }
}

Task<> CopyPipeline::hand_on(const CopyBatch& batch) {
  try {
    co_await vmigrate::hand_on(batch, parts_.to);
    // Only now: a block that is recorded but was never handed on would not be handed on again.
    co_await offload(parts_.pool, [this, &batch] { batch.record_in(parts_.digests); });
  } catch (...) {
    batch.record_doubt_in(parts_.digests);
    throw;
  }
  totals_.data_bytes += batch.data_bytes();
  totals_.zero_bytes += batch.zero_bytes();
  totals_.copied_until = batch.end;
}

Task<> CopyPipeline::join_reader() {
  is_stopping_ = true;
  free_.close();
  while (!is_reader_done_) [[maybe_unused]] const auto left = co_await ready_.async_receive(kAnswerAsTuple);
}

}  // namespace vmigrate

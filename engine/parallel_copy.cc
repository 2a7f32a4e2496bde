// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/parallel_copy.h"

#include <exception>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/assert.h"
#include "base/error.h"

namespace vmigrate {
namespace {

asio::any_io_executor executor_of(const CopyLane& lane, const asio::any_io_executor& own) {
  return lane.executor ? lane.executor : own;
}

}  // namespace

/// The lanes use what copy() owns, so its frame does not go before they have come to rest.
class ParallelCopy::Rest {
 public:
  Rest(ParallelCopy& copy, const asio::any_io_executor& own) : copy_(copy), own_(own) {}
  Rest(const Rest&) = delete;
  ~Rest() {
    std::unique_lock lock(copy_.mutex_);
    copy_.is_stopping_ = true;
    // What shares our executor never runs again once its loop goes.
    if (executor_of(copy_.parts_.lanes.front(), own_) == own_) return;
    copy_.at_rest_.wait(lock, [this] { return copy_.running_ == 0; });
  }

 private:
  ParallelCopy& copy_;
  asio::any_io_executor own_;
};

Task<> ParallelCopy::copy(const DirtySet& blocks) {
  MIGRATE_ASSERT(!parts_.lanes.empty());
  CopyPlan plan(blocks, parts_.from);
  const auto executor = co_await asio::this_coro::executor;
  asio::experimental::channel<void(boost::system::error_code, std::exception_ptr)> ends(executor, parts_.lanes.size());
  running_ = parts_.lanes.size();
  const Rest rest(*this, executor);
  for (const CopyLane& lane : parts_.lanes) {
    const auto end = [this, &ends, executor](std::exception_ptr failure) {
      asio::post(executor, [&ends, failure] { ends.try_send(boost::system::error_code{}, failure); });
      leave();
    };
    asio::co_spawn(executor_of(lane, executor), work(*lane.sink, plan), end);
  }
  // They are waited for even when we have been cancelled.
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  std::exception_ptr first_failure;
  for (std::size_t running = parts_.lanes.size(); running > 0;) {
    const auto [interrupted, failure] = co_await ends.async_receive(asio::as_tuple(asio::use_awaitable));
    if (!interrupted) --running;
    if (!first_failure && !interrupted) first_failure = failure;
    const std::lock_guard lock(mutex_);
    is_stopping_ = is_stopping_ || interrupted || first_failure;
  }
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  if (first_failure) std::rethrow_exception(first_failure);
  if (is_stopping_) throw Error(Errc::cancelled, "the copy was interrupted");
  totals_.copied_until = plan.position();   // no lane has anything left that it took
  MIGRATE_ASSERT(is_ending_early_ || !blocks.next_run(totals_.copied_until));
}

void ParallelCopy::end_early() noexcept {
  const std::lock_guard lock(mutex_);
  is_ending_early_ = true;
}

Task<> ParallelCopy::work(BlockSink& sink, CopyPlan& plan) {
  CopyBatch batch;
  while (take(batch, plan)) {
    sink.check();
    co_await parts_.from.read_each(batch.extents(), batch.bytes());
    batch.examine(parts_.digests);
    co_await hand_on_and_record(batch, sink);
    count(batch);
  }
}

Task<> ParallelCopy::hand_on_and_record(const CopyBatch& batch, BlockSink& sink) {
  try {
    co_await hand_on(batch, sink);
    // Only now: a block that is recorded but was never handed on would not be handed on again.
    batch.record_in(parts_.digests);
  } catch (...) {
    batch.record_doubt_in(parts_.digests);
    throw;
  }
}

bool ParallelCopy::take(CopyBatch& batch, CopyPlan& plan) {
  const std::lock_guard lock(mutex_);
  batch.clear();
  return !is_stopping_ && !is_ending_early_ && plan.fill(batch);
}

void ParallelCopy::leave() {
  const std::lock_guard lock(mutex_);   // notified under it, since afterwards we may be gone
  --running_;
  at_rest_.notify_all();
}

void ParallelCopy::count(const CopyBatch& batch) {
  const std::lock_guard lock(mutex_);
  totals_.data_bytes += batch.data_bytes();
  totals_.zero_bytes += batch.zero_bytes();
}

}  // namespace vmigrate

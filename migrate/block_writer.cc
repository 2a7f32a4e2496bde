// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/block_writer.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <exception>
#include <vector>

#include "base/error.h"

namespace vmigrate {
namespace {

using boost::system::error_code;
constexpr std::size_t kExtentsBehindMax = 4;
constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);

}  // namespace

Extent checked_extent(VolumeGeometry geometry, std::uint64_t first, std::uint64_t count, const std::string& peer) {
  const std::uint64_t blocks = geometry.block_count();
  if (count == 0 || first >= blocks || count > blocks - first)
    throw Error(Errc::protocol_violation, peer + " sent blocks outside of the image");
  return {{first}, count};
}

/// Shared with the writing coroutine, which may outlive the BlockWriter by one write.
struct BlockWriter::State {
  struct Item {
    Extent extent;
    std::vector<std::byte> blocks;   ///< empty: the extent reads as zeroes
  };

  State(asio::any_io_executor executor, asio::thread_pool& pool_in, BlockSink& sink_in, DigestIndex& digests_in)
      : pool(pool_in), sink(sink_in), digests(digests_in), queue(executor, kExtentsBehindMax), idle(executor, 1) {}

  /// Takes items until the queue is closed. After a failure it goes on taking, so that nobody waits for room.
  static Task<> work(std::shared_ptr<State> self);
  Task<> carry_out(Item& item);
  Task<> submit(Item item);
  void finish(Item item);

  asio::thread_pool& pool;
  BlockSink& sink;
  DigestIndex& digests;
  asio::experimental::channel<void(error_code, Item)> queue;
  asio::experimental::channel<void(error_code)> idle;   ///< a token is put in when the last item is finished
  std::size_t outstanding = 0;
  std::vector<std::vector<std::byte>> spare_buffers;
  std::exception_ptr failure;
};

Task<> BlockWriter::State::work(std::shared_ptr<State> self) {
  for (;;) {
    auto [closed, item] = co_await self->queue.async_receive(kAsTuple);
    if (closed) co_return;
    if (!self->failure) {
      try {
        co_await self->carry_out(item);
      } catch (...) {
        self->failure = std::current_exception();
      }
    }
    self->finish(std::move(item));
  }
}

Task<> BlockWriter::State::carry_out(Item& item) {
  const Extent extent = item.extent;
  const std::span<const std::byte> blocks = item.blocks;
  if (blocks.empty()) {
    co_await offload(pool, [this, extent] { digests.update_zeroes(extent); });
    co_await sink.write_zeroes(extent);
  } else {
    co_await offload(pool, [this, extent, blocks] { digests.update(extent, blocks); });
    co_await sink.write(extent, blocks);
  }
}

Task<> BlockWriter::State::submit(Item item) {
  if (failure) std::rethrow_exception(failure);
  ++outstanding;
  co_await queue.async_send(error_code{}, std::move(item), asio::use_awaitable);
}

void BlockWriter::State::finish(Item item) {
  if (item.blocks.capacity() > 0) spare_buffers.push_back(std::move(item.blocks));
  if (--outstanding == 0) idle.try_send(error_code{});
}

BlockWriter::BlockWriter(asio::any_io_executor executor, asio::thread_pool& pool, BlockSink& sink, DigestIndex& digests)
    : state_(std::make_shared<State>(executor, pool, sink, digests)) {
  asio::co_spawn(executor, State::work(state_), asio::detached);
}

BlockWriter::~BlockWriter() { state_->queue.close(); }

Task<> BlockWriter::write(Extent extent, std::span<const std::byte> blocks) {
  State::Item item{extent, {}};
  if (!state_->spare_buffers.empty()) {
    item.blocks = std::move(state_->spare_buffers.back());
    state_->spare_buffers.pop_back();
  }
  item.blocks.assign(blocks.begin(), blocks.end());
  co_await state_->submit(std::move(item));
}

Task<> BlockWriter::write_zeroes(Extent extent) {
  State::Item item{extent, {}};
  co_await state_->submit(std::move(item));
}

Task<> BlockWriter::settle() {
  while (state_->outstanding > 0) {
    [[maybe_unused]] auto [closed] = co_await state_->idle.async_receive(kAsTuple);
  }
  if (state_->failure) std::rethrow_exception(state_->failure);
}

}  // namespace vmigrate

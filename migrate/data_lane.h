// SPDX-License-Identifier: GPL-2.0-or-later
// A connection that carries nothing but blocks.
#pragma once

#include <memory>
#include <optional>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "transport/channel.h"

namespace vmigrate {

/// With a thread of its own, which may be kept waiting; a simulation has no threads and names an executor instead.
class DataLane {
 public:
  using Executor = std::optional<asio::any_io_executor>;

  /// `channel` has joined (docs/protocol.md, Join) and nobody waits on it.
  DataLane(std::unique_ptr<Channel> channel, const Executor& instead_of_a_thread);
  DataLane(const DataLane&) = delete;
  /// Closes, and waits for what still runs on the thread to find that out.
  ~DataLane();

  const asio::any_io_executor& executor() const { return executor_; }
  /// Used on executor(), or while nothing runs there.
  Channel& channel() { return *channel_; }
  const Channel& channel() const { return *channel_; }
  /// From any thread: whoever waits on the channel sees connection_lost.
  void close() noexcept;

 private:
  asio::io_context loop_{1};
  asio::executor_work_guard<asio::io_context::executor_type> stays_up_;
  asio::any_io_executor executor_;
  std::shared_ptr<Channel> channel_;   // shared with a close() under way
  std::thread thread_;
};

}  // namespace vmigrate

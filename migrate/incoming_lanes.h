// SPDX-License-Identifier: GPL-2.0-or-later
// The destination's connections for blocks.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "engine/block_io.h"
#include "engine/digest_index.h"
#include "migrate/data_lane.h"

namespace vmigrate {

/// Each lane writes what it receives, and digests it, as it comes. Lives on one executor, and so does whoever waits.
class IncomingLanes {
 public:
  struct Parts {
    BlockSink& sink;
    DigestIndex& digests;
    VolumeGeometry geometry;
    Clock& clock;
    DataLane::Executor instead_of_threads;
  };
  /// `channels` have joined. What is in `parts` must outlive the lanes.
  IncomingLanes(const asio::any_io_executor& executor, std::vector<std::unique_ptr<Channel>> channels, Parts parts);
  IncomingLanes(const IncomingLanes&) = delete;
  ~IncomingLanes();

  /// Returns when every lane has written all that came before RoundEnd `round`. Throws the failure of a lane, timed_out
  /// when one of them does not get there.
  Task<> reach(std::uint32_t round);
  /// Returns when a lane has failed. If the peer hung up it returns a little later: it may have done so for a reason
  /// that it says over the first connection. Does not throw but when it is cancelled.
  Task<> trouble();
  /// Throws such a failure, if there is one.
  void check() const;
  /// Hangs up; whoever waits here is told.
  void close() noexcept;
  /// Hangs up and returns when nothing is written any more. Must have returned before the lanes go away, unless nothing
  /// runs any more on the executor that they live on.
  Task<> end();

 private:
  class Lane;

  TimePoint trouble_since() const;
  Task<> wait_until(TimePoint deadline);

  Parts parts_;
  asio::steady_timer changed_;   ///< never expires; cancelled to say "look again"
  std::exception_ptr failure_;
  TimePoint failed_at_{};
  std::size_t running_ = 0;
  std::atomic<std::uint32_t> round_{0};   ///< the last that was reached: the next one's blocks may come
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace vmigrate

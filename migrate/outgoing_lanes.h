// SPDX-License-Identifier: GPL-2.0-or-later
// The source's connections for blocks.
#pragma once

#include <memory>
#include <vector>

#include "engine/parallel_copy.h"
#include "migrate/data_lane.h"
#include "migrate/pacer.h"

namespace vmigrate {

/// Lives on one executor. All but close() are called while no copy is under way.
class OutgoingLanes {
 public:
  struct Parts {
    Compression compression;
    Pacer& pacer;
    DataLane::Executor instead_of_threads;
  };
  /// `channels` have joined. What is in `parts` must outlive the lanes.
  OutgoingLanes(std::vector<std::unique_ptr<Channel>> channels, const Parts& parts);
  ~OutgoingLanes();

  /// Valid as long as the lanes.
  std::span<const CopyLane> copy_lanes() const { return copy_lanes_; }
  /// Says it on each of them.
  Task<> end_round(const RoundEnd& end);
  void set_idle_timeout(Duration timeout);
  std::uint64_t bytes_sent() const;
  void close() noexcept;

 private:
  class Sink;

  std::vector<std::unique_ptr<DataLane>> lanes_;
  std::vector<std::unique_ptr<Sink>> sinks_;
  std::vector<CopyLane> copy_lanes_;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// An honest write tracker over a MemoryVolume: it marks when a write has been carried out.
#pragma once

#include <string_view>
#include <utility>

#include "base/error.h"
#include "engine/write_tracker.h"
#include "tests/support/memory_volume.h"

namespace vmigrate {

class FakeTracker final : public WriteTracker, private MemoryVolume::Observer {
 public:
  explicit FakeTracker(MemoryVolume& volume) : volume_(volume), written_(volume.geometry().block_count()) {
    volume_.attach(*this);
  }
  FakeTracker(const FakeTracker&) = delete;
  FakeTracker& operator=(const FakeTracker&) = delete;
  ~FakeTracker() override { volume_.detach(*this); }

  /// From now on every drain says that the map cannot be trusted.
  void lose_track() { is_lost_ = true; }
  /// The next drain fails with `failure` and keeps what it knows.
  void fail_drain(int failure = EIO) { drain_failure_ = failure; }
  int drains() const { return drains_; }

  std::string_view name() const override { return "fake"; }
  VolumeGeometry geometry() const override { return volume_.geometry(); }
  Task<> drain_into(DirtySet& out) override {
    take_into(out);
    co_return;
  }
  Task<> drain_rest_into(DirtySet& out, const QuietVolume&) override {
    take_into(out);
    co_return;
  }

 private:
  void wrote(Extent extent) override { written_.add(extent); }
  void take_into(DirtySet& out) {
    ++drains_;
    if (is_lost_) throw Error(Errc::tracking_lost, "the fake tracker was told to lose track");
    if (drain_failure_ != 0) throw Error(std::exchange(drain_failure_, 0), "drain", "fake tracker");
    out.add(written_);
    written_.clear();
  }

  MemoryVolume& volume_;
  DirtySet written_;
  bool is_lost_ = false;
  int drain_failure_ = 0;
  int drains_ = 0;
};

}  // namespace vmigrate

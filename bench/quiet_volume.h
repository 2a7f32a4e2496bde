// SPDX-License-Identifier: GPL-2.0-or-later
// A volume and a tracker for benchmarks, in which nobody writes.
#pragma once

#include <memory>

#include "engine/device_volume.h"
#include "engine/volume_copier.h"

namespace vmigrate {

/// Nobody writes during the benchmark.
class NullTracker final : public WriteTracker {
 public:
  explicit NullTracker(VolumeGeometry geometry) : geometry_(geometry) {}
  std::string_view name() const override { return "null"; }
  VolumeGeometry geometry() const override { return geometry_; }
  Task<> drain_into(DirtySet&) override { co_return; }
  Task<> drain_rest_into(DirtySet&, const QuietVolume&) override { co_return; }

 private:
  VolumeGeometry geometry_;
};

/// A plain file posing as a volume in use.
class FileVolume final : public Volume {
 public:
  explicit FileVolume(std::unique_ptr<BlockSource> file) : file_(std::move(file)) {}
  VolumeGeometry geometry() const override { return file_->geometry(); }
  std::optional<Extent> next_data(BlockIndex from) override { return file_->next_data(from); }
  Task<> read(Extent extent, std::span<std::byte> into) override { return file_->read(extent, into); }
  Task<> read_each(std::span<const Extent> extents, std::span<std::byte> into) override {
    return file_->read_each(extents, into);
  }
  Task<> write_back() override { co_return; }
  Task<std::unique_ptr<QuietVolume>> quiesce() override { co_return std::make_unique<QuietVolume>(); }

 private:
  std::unique_ptr<BlockSource> file_;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel's objects behind one tracker: maps, programs on their tracepoints, pins.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "engine/tracker/dirty_map.h"
#include "engine/tracker/pin_directory.h"
#include "engine/tracker/tracked_device.h"

namespace vmigrate {

/// A part of a map's memory, shared with the programs. Unmapped on destruction.
class MapWindow {
 public:
  /// `offset` is a multiple of the page size. Throws Error.
  MapWindow(int map, std::uint64_t offset, std::size_t bytes);
  MapWindow(MapWindow&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}
  MapWindow& operator=(MapWindow&&) = delete;
  ~MapWindow();
  std::span<std::uint64_t> words() const {
    return {reinterpret_cast<std::uint64_t*>(memory_.data()), memory_.size() / 8};
  }

 private:
  std::span<std::byte> memory_;
};

/// Loaded and attached from construction to destruction, and beyond if pinned and the process dies.
class TrackerObjects {
 public:
  struct Options {
    bool marks_at_issue = false;
    std::filesystem::path bpffs;
  };
  /// Loads and attaches the programs for `device`. Throws Error(Errc::tracker_unavailable).
  static std::unique_ptr<TrackerObjects> load(const TrackedDevice& device, const Options& options);
  /// Opens what a dead process left. Throws Error(Errc::tracking_lost).
  static std::unique_ptr<TrackerObjects> take_over(const TrackedDevice& device, const std::filesystem::path& bpffs);

  vm_state& state() const { return *reinterpret_cast<vm_state*>(state_->words().data()); }
  /// Words of the dirty map, whole pages.
  std::uint64_t dirty_words() const;
  /// At most kWindowBytes of the dirty map are mapped at a time, so that the memory used does not grow with the device.
  MapWindow map_dirty(std::uint64_t first_word) const;
  static constexpr std::size_t kWindowBytes = std::size_t{4} << 20;
  /// One bit per word of the dirty map.
  std::span<std::uint64_t> pending() const { return pending_->words(); }
  std::span<std::uint64_t> unsure() const { return unsure_->words(); }
  /// The ranges that bios are remembered with; afterwards none is.
  std::vector<vm_range> take_in_flight() const;
  bool is_pinned() const { return pins_.has_value(); }

  /// By tracepoint: of its copies, the fewest events that the kernel skipped for one.
  std::map<std::string, std::uint64_t> fewest_skips() const;

 private:
  friend class TrackerLoader;
  TrackerObjects() = default;
  void map_shared();
  void pin_all();
  void attach(const std::string& tracepoint, int program, unsigned copy);

  std::map<std::string, UniqueFd> maps_;
  std::map<std::string, std::vector<UniqueFd>> links_;  ///< by tracepoint
  std::optional<MapWindow> state_, pending_, unsure_;
  std::optional<PinDirectory> pins_;
};

}  // namespace vmigrate

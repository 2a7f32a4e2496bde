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
#include "engine/tracker/map_window.h"
#include "engine/tracker/pin_directory.h"
#include "engine/tracker/shared_programs.h"
#include "engine/tracker/tracked_device.h"

namespace vmigrate {

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
  /// The bios that are remembered: on their way, or ended unseen.
  std::vector<vm_slot> in_flight() const;
  bool is_pinned() const { return pins_.has_value(); }

  /// By tracepoint: of its copies, the fewest events that the kernel skipped for one since tracking began. What a dead
  /// process left counts since its programs were attached: rather too many than too few.
  /// Without the ends of bios: whoever ended unseen is among in_flight(), or was never remembered.
  std::map<std::string, std::uint64_t> writes_skipped() const;

 private:
  friend class TrackerLoader;
  TrackerObjects() = default;
  void map_shared();
  void pin_all();
  using Skips = std::map<std::string, std::vector<std::uint64_t>>;   // by tracepoint and copy
  Skips skips() const;

  std::map<std::string, UniqueFd> maps_;
  std::map<std::string, std::vector<UniqueFd>> links_;  ///< by tracepoint
  std::optional<MapWindow> state_, pending_, unsure_, in_flight_;
  Skips skips_before_;
  std::optional<SharedPrograms::Slot> slot_;
  std::optional<PinDirectory> pins_;   ///< last: pins go first, so that none are left of what sees no events any more
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The programs that all trackers of this process have on one tracepoint.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "engine/tracker/dirty_map.h"
#include "engine/tracker/map_window.h"

namespace vmigrate {

/// Attached as long as somebody holds it. From any thread.
class SharedPrograms : public std::enable_shared_from_this<SharedPrograms> {
 public:
  static constexpr unsigned kCopiesMax = 3;

  /// Those of the process in so many copies, attached now if nobody holds them. Throws
  /// Error(Errc::tracker_unavailable).
  static std::shared_ptr<SharedPrograms> get(unsigned copies);
  SharedPrograms(const SharedPrograms&) = delete;

  /// As long as it lives, events of its disk are handed on. When it has gone a last one may still be on its way, on
  /// another processor.
  class Slot {
   public:
    Slot(std::shared_ptr<SharedPrograms> programs, std::uint32_t index)
        : programs_(std::move(programs)), index_(index) {}
    Slot(Slot&&) noexcept = default;
    Slot& operator=(Slot&&) = delete;
    ~Slot() {
      if (programs_) programs_->remove(index_);
    }

   private:
    std::shared_ptr<SharedPrograms> programs_;
    std::uint32_t index_;
  };
  /// Events of `disk` (as vm_config.disk) go to `programs`, one for each copy. Nothing if the disk has programs here
  /// already, or there are too many disks. Throws Error.
  std::optional<Slot> add(std::uint32_t disk, std::span<const int> programs);

  /// One for each copy.
  const std::vector<UniqueFd>& links() const { return links_; }
  /// What has to stay, beside the links, for events to be handed on after this process: by name.
  std::vector<std::pair<std::string, int>> maps() const;
  static constexpr std::size_t map_count(unsigned copies) { return 1 + copies; }

 private:
  explicit SharedPrograms(unsigned copies);
  vm_targets& targets() const;
  std::optional<std::uint32_t> free_slot(std::uint32_t disk) const;
  void remove(std::uint32_t slot) noexcept;

  std::mutex mutex_;   // of the slots
  UniqueFd targets_map_;
  std::vector<UniqueFd> tables_, links_;   // one for each copy
  std::optional<MapWindow> window_;
};

}  // namespace vmigrate

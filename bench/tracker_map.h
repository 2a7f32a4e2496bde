// SPDX-License-Identifier: GPL-2.0-or-later
// A hand on the dirty map of an armed tracker, to fill it as nobody could by writing.
#pragma once

#include <bpf/bpf.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/tracker/tracked_device.h"
#include "engine/tracker/tracker_objects.h"

namespace vmigrate {

/// The map as it is pinned in bpffs while the tracker lives.
class TrackerMap {
 public:
  /// Throws Error when no tracker is armed on `node`.
  explicit TrackerMap(const std::filesystem::path& node) : map_(open(TrackedDevice(node))) {
    __u32 bytes = sizeof info_;
    check_syscall(::bpf_obj_get_info_by_fd(map_.get(), &info_, &bytes), "bpf_obj_get_info_by_fd", "dirty");
  }

  std::uint64_t bytes() const { return std::uint64_t{info_.max_entries} * info_.value_size; }

  /// Sets about `fraction` of all bits, each with the same chance; the pattern repeats itself with every window. The
  /// map must be empty.
  void set_random_bits(double fraction, std::uint64_t seed) const {
    const auto pattern = random_words(fraction, seed);
    for (std::uint64_t offset = 0; offset < bytes(); offset += TrackerObjects::kWindowBytes) {
      const auto window_bytes = std::min<std::uint64_t>(bytes() - offset, TrackerObjects::kWindowBytes);
      const MapWindow window(map_.get(), offset, window_bytes);
      std::copy_n(pattern.begin(), window.words().size(), window.words().begin());
    }
  }

 private:
  static std::vector<std::uint64_t> random_words(double fraction, std::uint64_t seed) {
    std::vector<std::uint64_t> words(TrackerObjects::kWindowBytes / sizeof(std::uint64_t));
    if (fraction >= 1) {
      std::fill(words.begin(), words.end(), UINT64_MAX);
      return words;
    }
    std::mt19937_64 random(seed);
    std::geometric_distribution<std::uint64_t> gap(fraction);
    for (auto bit = gap(random); bit < words.size() * 64; bit += 1 + gap(random))
      words[bit / 64] |= std::uint64_t{1} << bit % 64;
    return words;
  }

  static UniqueFd open(const TrackedDevice& device) {
    const std::string end = "-" + std::to_string(device.identity().diskseq) + "-" +
                            std::to_string(device.disk_major()) + "-" + std::to_string(device.disk_minor()) + "-" +
                            std::to_string(device.start());
    for (const auto& entry : std::filesystem::directory_iterator("/sys/fs/bpf/vmigrate"))
      if (entry.path().filename().string().ends_with(end))
        return UniqueFd(check_syscall(::bpf_obj_get((entry.path() / "dirty").c_str()), "bpf_obj_get", "dirty"));
    throw Error(Errc::tracking_lost, "no tracker is pinned for " + device.node().string());
  }

  UniqueFd map_;
  bpf_map_info info_{};
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// A directory in bpffs that keeps kernel objects alive beyond their process.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "engine/tracker/tracked_device.h"

namespace vmigrate {

/// <bpffs>/vmigrate/<boot>-<diskseq>-<major>-<minor>-<start>/. Its owner holds a lock on it: without lock the owner is
/// dead. Destruction unpins everything and removes the directory.
class PinDirectory {
 public:
  /// A new directory for `device`, after removing what dead owners left for the same place on the same disk. Nothing,
  /// with a warning in the log, when bpffs can neither be found nor mounted, and when another tracker owns the name.
  static std::optional<PinDirectory> create(const std::filesystem::path& bpffs, const TrackedDevice& device);
  /// The directory that a dead owner left. Throws Error(Errc::tracking_lost) when there is none or its owner lives.
  static PinDirectory take_over(const std::filesystem::path& bpffs, const TrackedDevice& device);

  PinDirectory(PinDirectory&& other) noexcept = default;
  PinDirectory& operator=(PinDirectory&&) = delete;
  ~PinDirectory();

  /// Throws Error when the kernel refuses.
  void pin(int fd, const std::string& name) const;
  UniqueFd get(const std::string& name) const;
  std::vector<std::string> names() const;

 private:
  PinDirectory(std::filesystem::path path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::filesystem::path path_;
  UniqueFd lock_;  ///< closed once moved from
};

}  // namespace vmigrate

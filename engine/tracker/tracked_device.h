// SPDX-License-Identifier: GPL-2.0-or-later
// A block device as sysfs shows it: where it lies, what carries it, what has been written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace vmigrate {

/// What must stay the same while a device is tracked. If any of it changes, the map belongs to another medium.
struct DeviceIdentity {
  std::uint64_t diskseq = 0;         ///< 0 before Linux 5.15
  std::uint64_t sectors = 0;
  std::uint64_t backing_device = 0;  ///< of a loop device's file
  std::uint64_t backing_inode = 0;
  bool operator==(const DeviceIdentity&) const = default;
};

/// A whole disk or a partition. Every method reads sysfs anew and throws Error when it cannot.
class TrackedDevice {
 public:
  /// Throws Error when `node` is not a block device or holds no medium.
  explicit TrackedDevice(const std::filesystem::path& node);

  const std::filesystem::path& node() const { return node_; }
  unsigned disk_major() const { return disk_major_; }
  unsigned disk_minor() const { return disk_minor_; }
  std::uint64_t start() const { return start_; }      ///< first sector on the disk; 0 for a whole disk
  std::uint64_t sectors() const { return identity_.sectors; }
  const DeviceIdentity& identity() const { return identity_; }
  /// dm, md, zram: no request queue of its own.
  bool is_bio_based() const;
  /// False for a loop device whose only queue serves several processors: its requests end in a task, or the kernel
  /// sends them on to a softirq first (block/blk-mq.c, blk_mq_complete_request_remote). Of others it is not known.
  bool may_end_in_hard_interrupt() const;

  DeviceIdentity identity_now() const;
  /// Sectors written and discarded since boot by the kernel's statistics; nothing if it keeps none for this device.
  std::optional<std::uint64_t> sectors_written() const;
  /// Writes that were submitted and have not ended.
  std::uint64_t writes_in_flight() const;
  /// Why writes to this device could go unseen, as half a sentence; nothing if none is known.
  std::optional<std::string> reason_not_to_track() const;

 private:
  std::filesystem::path disk_node() const;
  std::filesystem::path node_;
  std::filesystem::path sysfs_;   ///< of the device itself
  std::filesystem::path disk_;    ///< of the whole disk: the same, or its parent
  unsigned major_ = 0;
  unsigned minor_ = 0;
  unsigned disk_major_ = 0;
  unsigned disk_minor_ = 0;
  std::uint64_t start_ = 0;
  DeviceIdentity identity_;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel's write tracker: eBPF programs set bits, drains take them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>

#include "engine/tracker/tracked_device.h"
#include "engine/write_tracker.h"

namespace vmigrate {

class TrackerObjects;

/// Tracks one block device of any kind with programs in the kernel (write_tracker.bpf.c). Needs root, Linux 5.15 or
/// newer with type information (CONFIG_DEBUG_INFO_BTF). Any number may exist at once, also for one device.
///
/// If bpffs is there or can be mounted, the kernel's objects are pinned in it while this object lives, so that tracking
/// goes on if the process dies; adopt() takes them over. Without bpffs tracking works and ends with the process.
class BpfWriteTracker final : public WriteTracker {
 public:
  enum class MarkAt { completion, issue };
  struct Options {
    MarkAt mark_at = MarkAt::completion;  ///< issue is wrong, and there to show that the stress test notices
    std::filesystem::path bpffs = "/sys/fs/bpf";
  };

  /// Arms: every write that ends after the constructor returned is seen. `pool` must outlive this object. Throws
  /// Error(Errc::tracker_unavailable) with the reason when the kernel or the device rules it out.
  BpfWriteTracker(asio::thread_pool& pool, const std::filesystem::path& device);
  BpfWriteTracker(asio::thread_pool& pool, const std::filesystem::path& device, const Options& options);
  /// Takes over what a process that died has left: its drains return at least every block written since that process
  /// last called forget_drained(). Throws Error(Errc::tracking_lost) when nothing is left, it is in use, or it is not
  /// about the medium that the device carries now.
  static std::unique_ptr<BpfWriteTracker> adopt(asio::thread_pool& pool, const std::filesystem::path& device);
  static std::unique_ptr<BpfWriteTracker> adopt(asio::thread_pool& pool, const std::filesystem::path& device,
                                                const Options& options);
  ~BpfWriteTracker() override;

  std::string_view name() const override { return "bpf"; }
  VolumeGeometry geometry() const override;
  /// A write to a device without request queues whose end could not be seen is in the last drain only.
  Task<> drain_into(DirtySet& out) override;
  Task<> drain_rest_into(DirtySet& out, const QuietVolume& quiet) override;

  /// Everything drained so far is safe on the destination: adopt() need not return it again. Call it only between
  /// drains.
  void forget_drained();
  /// Whether tracking would survive this process.
  bool is_pinned() const;
  /// For tests only: pretends that the programs saw nothing so far.
  void forget_counts_for_test();

 private:
  BpfWriteTracker(asio::thread_pool& pool, TrackedDevice device, std::unique_ptr<TrackerObjects> objects);
  void mark_pending();
  void check_medium() const;
  void check_flags() const;
  void check_every_copy_was_not_skipped() const;
  bool check_against_statistics() const;
  void drain_words(DirtySet& out);
  void drain_rest(DirtySet& out);
  bool knows_of_bios() const;
  /// What is known of bios whose end nobody marks is handed out once, and again after anything else was written.
  struct Swept {
    std::uint64_t counted = 0;
    std::set<std::array<std::uint64_t, 3>> bios;   ///< as vm_slot
    std::set<std::uint64_t> chunks;                ///< of `unsure`
  };
  void take_in_flight(DirtySet& out);
  void take_unsure(DirtySet& out);
  void add_bits(DirtySet& out, std::uint64_t word_index, std::uint64_t bits) const;
  std::uint64_t counted() const;

  asio::thread_pool& pool_;
  TrackedDevice device_;
  std::unique_ptr<TrackerObjects> objects_;
  Swept swept_;
};

}  // namespace vmigrate

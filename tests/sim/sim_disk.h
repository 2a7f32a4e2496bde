// SPDX-License-Identifier: GPL-2.0-or-later
// The file system of a simulated host: what a process reads is not yet what a power cut leaves.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "tests/sim/random.h"

namespace vmigrate::sim {

/// Outlives the processes that use it by way of a ProcessDisk.
class SimDisk {
 public:
  /// Everything that is not on stable storage is lost, kept or torn, as chance will have it. Locks are gone.
  void lose_power(Random& random);
  /// The last fsync failed: what was written since the one before it is in the page cache, and no later fsync will
  /// bring it to the disk.
  void doom_unsynced();
  /// `holder` has died.
  void release_locks_of(const void* holder);
  bool has_locks() const;
  /// The files that a process finds now in a directory, unfinished ones left out.
  std::size_t file_count(const std::string& directory) const;
  /// What would certainly be left by a power cut now; for inspection.
  std::unique_ptr<Disk> certain() const;
  /// Another one whenever something has changed.
  std::uint64_t version() const { return version_; }

 private:
  friend class ProcessDisk;
  friend class SimFile;
  using Bytes = std::vector<std::byte>;
  struct Write {
    std::uint64_t offset;
    std::uint64_t length;
    Bytes before;
    bool is_doomed = false;
  };
  struct Inode {
    Bytes content;                  ///< as the page cache has it
    std::vector<Write> unsynced;    ///< the latest last
    const void* locker = nullptr;   ///< a process
    const void* lock_file = nullptr;
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;

  static void undo(Inode& inode, const Write& write, std::uint64_t bytes_kept);

  Names names_;           ///< as processes see them
  Names durable_names_;
  std::uint64_t unique_ = 0;
  std::uint64_t version_ = 0;
};

/// The disk as one process uses it: every call passes a point at which it may fail, or the process may die.
class ProcessDisk final : public Disk {
 public:
  /// Called before each operation; throws if it is not to happen.
  using Point = std::function<void(const std::filesystem::path& path, const char* operation)>;
  ProcessDisk(SimDisk& disk, const void* process, Point point)
      : disk_(disk), process_(process), point_(std::move(point)) {}

  std::unique_ptr<DiskFile> open(const std::filesystem::path& path) override;
  std::unique_ptr<DiskFile> create(const std::filesystem::path& path) override;
  std::unique_ptr<DiskFile> create_unique(std::filesystem::path& path) override;
  bool link(const std::filesystem::path& from, const std::filesystem::path& to) override;
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  bool remove(const std::filesystem::path& path) override;
  void sync_names(const std::filesystem::path& directory) override;
  std::vector<std::string> list(const std::filesystem::path& directory) override;

 private:
  friend class SimFile;
  void reach(const std::filesystem::path& path, const char* operation) const;

  SimDisk& disk_;
  const void* process_;
  Point point_;
};

}  // namespace vmigrate::sim

// SPDX-License-Identifier: GPL-2.0-or-later
// The file calls on which our promises rest: what is on stable storage, and who holds a file. A simulation puts its own
// disk in their place, and loses power between any two of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace vmigrate {

/// One open file. Closed on destruction, which gives its lock back. All operations block and throw Error.
class DiskFile {
 public:
  virtual ~DiskFile() = default;

  /// False when somebody else holds it.
  virtual bool lock() = 0;
  /// True if `path` names this very file.
  virtual bool is_at(const std::filesystem::path& path) const = 0;
  /// Up to into.size() bytes; fewer at the end of the file.
  virtual std::size_t read(std::uint64_t offset, std::span<std::byte> into) const = 0;
  virtual void write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// What was written is on stable storage. After a failure nobody knows what is.
  virtual void sync() = 0;
};

/// Names are as durable as the last sync_names() of their directory. All operations block and throw Error.
class Disk {
 public:
  virtual ~Disk() = default;

  /// Null if nothing has that name. Links are not followed.
  virtual std::unique_ptr<DiskFile> open(const std::filesystem::path& path) = 0;
  /// Empty, in place of what had that name. Makes the directories above it.
  virtual std::unique_ptr<DiskFile> create(const std::filesystem::path& path) = 0;
  /// The same, under a name that nobody has: `path` is made it.
  virtual std::unique_ptr<DiskFile> create_unique(std::filesystem::path& path) = 0;
  /// A second name for a file; false if that name is taken.
  virtual bool link(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// In place of what was called `to`.
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// False if nothing has that name.
  virtual bool remove(const std::filesystem::path& path) = 0;
  virtual void sync_names(const std::filesystem::path& directory) = 0;
  /// The names in a directory, sorted; none if there is no such directory.
  virtual std::vector<std::string> list(const std::filesystem::path& directory) = 0;
};

/// The kernel's.
Disk& real_disk() noexcept;

/// What a file is called until it is whole: the only names that begin with a point. Its maker holds its lock.
std::filesystem::path unfinished(const std::filesystem::path& path);
bool is_unfinished(const std::string& name);

/// What becomes of a file that has the name already: it keeps it, or loses it.
enum class Naming { must_be_free, replaces };
/// Whole and on stable storage before it has its name, so that a crash leaves no half-made file. Throws Error.
void create_file(Disk& disk, const std::filesystem::path& path, std::span<const std::byte> content, Naming naming);
/// Removes the unfinished files of a directory whose makers are gone.
void remove_unfinished(Disk& disk, const std::filesystem::path& directory);

}  // namespace vmigrate

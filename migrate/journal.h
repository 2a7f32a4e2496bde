// SPDX-License-Identifier: GPL-2.0-or-later
// What must survive a crash: who may run the container. One preallocated file per container and host.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "migrate/journal_slots.h"

namespace vmigrate {

/// The journal of one container on this host: 256-byte slots in a file of 64 KiB whose blocks exist from the start, so
/// that a full disk cannot strike at the commit. Each slot carries its sequence number and checksums over itself and
/// its predecessor. While open it holds an exclusive lock: two sessions for one container, in whatever processes,
/// exclude each other.
///
/// Opening writes the newest record again, so that nobody acts on what only the page cache has.
///
/// Before the slots run out, opening starts a new file with the newest record; that is possible only when it is
/// settled.
///
/// A slot torn at the end is one that was never acknowledged and is ignored; a bad slot before a good one means that
/// the journal cannot be trusted, and opening throws Error(Errc::internal).
class Journal {
 public:
  /// Opens or creates `<directory>/<container>`. Throws Error(Errc::busy) when another session holds it.
  Journal(const std::filesystem::path& directory, const std::string& container, Disk& disk = real_disk());
  Journal(Journal&& other) noexcept = default;
  Journal& operator=(Journal&&) = delete;
  /// A journal without a record is removed: an attempt that came to nothing leaves nothing.
  ~Journal();

  std::optional<Record> newest() const;
  /// The newest record about one migration.
  std::optional<Record> newest_of(Bits128 migration) const;
  const std::vector<Record>& records() const { return records_; }
  /// The epoch of the last owner known here, whichever host that is; 0 if none. Attempts that came to nothing do not
  /// count.
  std::uint64_t owner_epoch() const;

  /// False after a failed append.
  bool is_sound() const { return !has_failed_; }
  /// After a failed append: reads what is there, and writes the newest record again, so that it is known to be there
  /// to stay. Whether that is the one that failed is for the caller to see. Throws Error when the disk fails again.
  void mend();
  /// Returns once the record would survive a power cut. Throws Error when that is not known: then the record may or may
  /// not be on the disk, and this object refuses further appends until mend().
  void append(Record record);

 private:
  void open_and_lock(const std::string& container);
  void start_anew();

  Disk* disk_;
  std::filesystem::path path_;
  std::unique_ptr<DiskFile> file_;
  std::vector<Record> records_;
  Bits128 last_checksum_;
  bool has_failed_ = false;
};

/// The newest record about `migration` in the journal of `container`; nothing if there is none. Throws
/// Error(Errc::busy) while a session holds the journal: it may be about to write, or may have failed to, and its
/// records are not yet an answer. Throws Error(Errc::internal) for a damaged one.
std::optional<Record> find_record(const std::filesystem::path& directory, const std::string& container,
                                  Bits128 migration, Disk& disk = real_disk());

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/journal.h"

#include <ctime>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"

namespace vmigrate {
namespace {

constexpr std::size_t kRecordsPerAttemptMax = 8;

/// Records after which it is known who owns the container, here or elsewhere.
bool names_owner(RecordType type) {
  return type == RecordType::own || type == RecordType::owned || type == RecordType::released ||
         type == RecordType::reclaimed;
}

/// What was read may be in the page cache only: after a failed fdatasync the kernel takes the page for clean, and the
/// next one succeeds without writing. So the newest record is written again before anybody acts on it.
/// The same for the file's name, whose maker may have died before it was on the disk.
void confirm_newest(Disk& disk, DiskFile& file, std::span<const std::byte> content, std::size_t records,
                    const std::filesystem::path& path) {
  disk.sync_names(path.parent_path());
  if (records == 0) return;
  const std::size_t offset = (records - 1) * kJournalSlotBytes;
  file.write(offset, content.subspan(offset, kJournalSlotBytes));
  file.sync();
}

/// The caller holds the lock.
LoadedSlots load_file(Disk& disk, DiskFile& file, const std::filesystem::path& path) {
  std::vector<std::byte> bytes(kJournalBytes);
  const std::size_t got = file.read(0, bytes);
  if (got != kJournalBytes)
    throw Error(Errc::internal, "the journal " + path.native() + " is " + std::to_string(got) +
                                    " bytes long instead of 65536; nothing is started from it");
  LoadedSlots loaded = load_slots(bytes, path.native());
  confirm_newest(disk, file, bytes, loaded.records.size(), path);
  return loaded;
}

}  // namespace

Journal::Journal(const std::filesystem::path& directory, const std::string& container, Disk& disk)
    : disk_(&disk), path_(directory / container) {
  open_and_lock(container);
  if (records_.size() + kRecordsPerAttemptMax <= kJournalSlotsMax) return;
  start_anew();
  open_and_lock(container);
}

/// A file that was removed or replaced between open and lock is nobody's journal any more.
void Journal::open_and_lock(const std::string& container) {
  while (!file_ || !file_->is_at(path_)) {
    file_ = disk_->open(path_);
    if (!file_) {
      create_file(*disk_, path_, std::vector<std::byte>(kJournalBytes), Naming::must_be_free);
      continue;
    }
    if (!file_->lock())
      throw Error(Errc::busy, "another migration of container " + container + " is under way; wait for its end");
  }
  mend();
}

/// The newest record, and before it the newest that names an owner. The old file's lock is held until the new one is
/// whole and has its name.
void Journal::start_anew() {
  const Record newest = records_.back();
  if (newest.type == RecordType::given || newest.type == RecordType::prepared)
    throw Error(Errc::internal, "the journal " + path_.native() + " is full, and its last migration is not settled");
  std::vector<Record> kept;
  for (const Record& record : records_)
    if (names_owner(record.type)) kept = {record};
  if (kept.empty() || kept.back().sequence != newest.sequence) kept.push_back(newest);
  std::vector<std::byte> content;
  Bits128 previous;
  for (Record& record : kept) {
    record.sequence = content.size() / kJournalSlotBytes + 1;
    const std::vector<std::byte> slot = encode_slot(record, previous);
    previous = checksum_in(slot);
    content.insert(content.end(), slot.begin(), slot.end());
  }
  content.resize(kJournalBytes);
  create_file(*disk_, path_, content, Naming::replaces);
}

Journal::~Journal() {
  if (!file_ || has_failed_ || !records_.empty()) return;
  try {
    disk_->remove(path_);
  } catch (const Error& error) {
    log(LogLevel::warn, std::string("event=left_behind reason=") + error.what());
  }
}

std::optional<Record> Journal::newest() const {
  if (records_.empty()) return std::nullopt;
  return records_.back();
}

std::uint64_t Journal::owner_epoch() const {
  for (auto it = records_.rbegin(); it != records_.rend(); ++it)
    if (names_owner(it->type)) return it->epoch;
  return 0;
}

std::optional<Record> Journal::newest_of(Bits128 migration) const {
  for (auto it = records_.rbegin(); it != records_.rend(); ++it)
    if (it->migration == migration) return *it;
  return std::nullopt;
}

void Journal::mend() {
  LoadedSlots loaded = load_file(*disk_, *file_, path_);
  records_ = std::move(loaded.records);
  last_checksum_ = loaded.last_checksum;
  has_failed_ = false;
}

void Journal::append(Record record) {
  if (has_failed_)
    throw Error(Errc::internal, "the journal " + path_.native() + " failed before and was not read again since");
  if (records_.size() >= kJournalSlotsMax) throw Error(Errc::internal, "the journal " + path_.native() + " is full");
  record.sequence = records_.size() + 1;
  record.unix_time = static_cast<std::uint64_t>(std::time(nullptr));
  const std::vector<std::byte> slot = encode_slot(record, last_checksum_);
  has_failed_ = true;  // until proven otherwise: after a failed write nobody knows what is on the disk
  failpoint(kJournalSubject, point_of(record.type), "before_write");
  file_->write(records_.size() * kJournalSlotBytes, slot);
  failpoint(kJournalSubject, point_of(record.type), "before_fsync");
  file_->sync();
  failpoint(kJournalSubject, point_of(record.type), "after_fsync");
  has_failed_ = false;
  last_checksum_ = checksum_in(slot);
  records_.push_back(std::move(record));
}

std::optional<Record> find_record(const std::filesystem::path& directory, const std::string& container,
                                  Bits128 migration, Disk& disk) {
  const std::filesystem::path path = directory / container;
  const auto file = disk.open(path);
  if (!file) return std::nullopt;
  // If it was replaced meanwhile, a session holds the one that took its place.
  if (!file->lock() || !file->is_at(path))
    throw Error(Errc::busy, "a migration of container " + container + " is under way");
  std::optional<Record> found;
  for (const Record& record : load_file(disk, *file, path).records)
    if (record.migration == migration) found = record;
  return found;
}

}  // namespace vmigrate

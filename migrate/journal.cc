// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"

namespace vmigrate {
namespace {

constexpr std::size_t kRecordsPerAttemptMax = 8;

/// Records after which it is known who owns the container, here or elsewhere.
bool names_owner(RecordType type) {
  return type == RecordType::own || type == RecordType::owned || type == RecordType::released ||
         type == RecordType::reclaimed;
}

/// Naming a new journal must not replace one that somebody else has just made, and locked.
enum class Naming { must_be_free, replaces };

bool give_name(const std::string& temporary, const std::filesystem::path& path, Naming naming) {
  if (naming == Naming::replaces) return ::rename(temporary.c_str(), path.c_str()) == 0;
  const bool is_there = ::link(temporary.c_str(), path.c_str()) == 0 || errno == EEXIST;
  if (is_there) ::unlink(temporary.c_str());
  return is_there;
}

/// Whole and on stable storage before it has its name, so that a crash leaves no half-made journal.
void create_file(const std::filesystem::path& path, std::span<const std::byte> content, Naming naming) {
  std::filesystem::create_directories(path.parent_path());
  std::string temporary = path.native() + ".XXXXXX";
  const UniqueFd fd(check_syscall(::mkostemp(temporary.data(), O_CLOEXEC), "mkostemp", temporary));
  const ssize_t written = ::pwrite(fd.get(), content.data(), content.size(), 0);
  if (written != static_cast<ssize_t>(content.size()) || ::fsync(fd.get()) != 0 ||
      !give_name(temporary, path, naming)) {
    const int saved = errno;
    ::unlink(temporary.c_str());
    throw Error(saved, "cannot create the journal", path.native());
  }
  sync_to_disk(path.parent_path());
}

/// A file that was removed or replaced between open and lock is nobody's journal any more.
bool is_current(const UniqueFd& file, const std::filesystem::path& path) {
  struct stat opened {};
  struct stat named {};
  return file.is_open() && ::fstat(file.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

/// What was read may be in the page cache only: after a failed fdatasync the kernel takes the page for clean, and the
/// next one succeeds without writing. So the newest record is written again before anybody acts on it.
void confirm_newest(int fd, std::span<const std::byte> content, std::size_t records,
                    const std::filesystem::path& path) {
  if (records == 0) return;
  const std::size_t offset = (records - 1) * kJournalSlotBytes;
  const auto slot = content.subspan(offset, kJournalSlotBytes);
  const ssize_t written = ::pwrite(fd, slot.data(), slot.size(), static_cast<off_t>(offset));
  check_syscall(written, "write", path.native());
  if (written != static_cast<ssize_t>(slot.size())) throw Error(EIO, "write", path.native());
  check_syscall(::fdatasync(fd), "fdatasync", path.native());
}

/// The caller holds the lock.
LoadedSlots load_file(int fd, const std::filesystem::path& path) {
  std::vector<std::byte> bytes(kJournalBytes);
  const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), 0);
  check_syscall(got, "read", path.native());
  if (got != static_cast<ssize_t>(kJournalBytes))
    throw Error(Errc::internal, "the journal " + path.native() + " is " + std::to_string(got) +
                                    " bytes long instead of 65536; nothing is started from it");
  LoadedSlots loaded = load_slots(bytes, path.native());
  confirm_newest(fd, bytes, loaded.records.size(), path);
  return loaded;
}

}  // namespace

Journal::Journal(const std::filesystem::path& directory, const std::string& container) : path_(directory / container) {
  open_and_lock(container);
  if (records_.size() + kRecordsPerAttemptMax <= kJournalSlotsMax) return;
  start_anew();
  open_and_lock(container);
}

void Journal::open_and_lock(const std::string& container) {
  while (!is_current(file_, path_)) {
    if (!std::filesystem::exists(path_))
      create_file(path_, std::vector<std::byte>(kJournalBytes), Naming::must_be_free);
    file_ = UniqueFd(check_syscall(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW), "open", path_.native()));
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0)
      throw Error(Errc::busy, "another migration of container " + container + " is under way; wait for its end");
  }
  LoadedSlots loaded = load_file(file_.get(), path_);
  records_ = std::move(loaded.records);
  last_checksum_ = loaded.last_checksum;
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
  create_file(path_, content, Naming::replaces);
}

Journal::~Journal() {
  if (!file_.is_open()) return;
  if (records_.empty() && !has_failed_) ::unlink(path_.c_str());
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
  LoadedSlots loaded = load_file(file_.get(), path_);
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
  const auto offset = static_cast<off_t>(records_.size() * kJournalSlotBytes);
  has_failed_ = true;  // until proven otherwise: after a failed write nobody knows what is on the disk
  failpoint(kJournalSubject, point_of(record.type), "before_write");
  const int written = check_syscall(::pwrite(file_.get(), slot.data(), slot.size(), offset), "write", path_.native());
  if (written != static_cast<int>(slot.size())) throw Error(EIO, "write", path_.native());
  failpoint(kJournalSubject, point_of(record.type), "before_fsync");
  check_syscall(::fdatasync(file_.get()), "fdatasync", path_.native());
  failpoint(kJournalSubject, point_of(record.type), "after_fsync");
  has_failed_ = false;
  last_checksum_ = checksum_in(slot);
  records_.push_back(std::move(record));
}

std::optional<Record> find_record(const std::filesystem::path& directory, const std::string& container,
                                  Bits128 migration) {
  const std::filesystem::path path = directory / container;
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.is_open() && errno == ENOENT) return std::nullopt;
  check_syscall(fd.get(), "open", path.native());
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    throw Error(Errc::busy, "a migration of container " + container + " is under way");
  std::optional<Record> found;
  for (const Record& record : load_file(fd.get(), path).records)
    if (record.migration == migration) found = record;
  return found;
}

}  // namespace vmigrate

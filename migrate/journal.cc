// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/journal.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "base/assert.h"
#include "base/durable.h"
#include "base/error.h"

namespace vmigrate {
namespace {

constexpr std::size_t kSlotBytes = 256;
constexpr std::size_t kChecksumBytes = 16;
constexpr std::size_t kFileBytes = 64 << 10;
constexpr std::size_t kSlots = kFileBytes / kSlotBytes;
constexpr std::size_t kRecordsPerAttemptMax = 8;
constexpr std::size_t kPeerBytesMax = 95;
constexpr std::uint32_t kMagic = 0x314a4d56;  // "VMJ1"

using Slot = std::vector<std::byte>;

/// The first half of SHA-256 over the previous slot's checksum and this slot's fields: a chain, so that no slot can be
/// taken out.
Bits128 checksum(Bits128 previous, std::span<const std::byte> fields) {
  std::vector<std::byte> input;
  ByteWriter writer(input);
  writer.bits128(previous);
  writer.bytes(fields);
  std::array<std::byte, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  const int ok = EVP_Digest(input.data(), input.size(), reinterpret_cast<unsigned char*>(digest.data()), &length,
                            EVP_sha256(), nullptr);
  MIGRATE_ASSERT(ok == 1 && length == 32);
  return ByteReader(digest).bits128();
}

Slot encode_slot(const Record& record, Bits128 previous) {
  Slot slot;
  ByteWriter writer(slot);
  writer.u32(kMagic);
  writer.u16(static_cast<std::uint16_t>(record.type));
  writer.u16(0);
  writer.u64(record.sequence);
  writer.bits128(record.migration);
  writer.u64(record.epoch);
  writer.bits128(record.image_root);
  writer.u64(record.unix_time);
  writer.short_string(record.peer.substr(0, kPeerBytesMax));
  slot.resize(kSlotBytes - kChecksumBytes);
  const Bits128 sum = checksum(previous, slot);
  ByteWriter(slot).bits128(sum);
  MIGRATE_ASSERT(slot.size() == kSlotBytes);
  return slot;
}

struct Decoded {
  Record record;
  Bits128 checksum;
};

/// Nothing when the slot is unused, torn or does not follow its predecessor.
std::optional<Decoded> decode_slot(std::span<const std::byte> slot, Bits128 previous, std::uint64_t sequence) {
  const auto fields = slot.first(kSlotBytes - kChecksumBytes);
  const Bits128 stored = ByteReader(slot.subspan(fields.size())).bits128();
  ByteReader reader(fields);
  if (reader.u32() != kMagic || stored != checksum(previous, fields)) return std::nullopt;
  Decoded decoded{{}, stored};
  Record& record = decoded.record;
  const std::uint16_t type = reader.u16();
  reader.u16();
  record.sequence = reader.u64();
  if (type < 1 || type > static_cast<std::uint16_t>(RecordType::refused) || record.sequence != sequence)
    return std::nullopt;
  record.type = static_cast<RecordType>(type);
  record.migration = reader.bits128();
  record.epoch = reader.u64();
  record.image_root = reader.bits128();
  record.unix_time = reader.u64();
  record.peer = reader.short_string();
  return decoded;
}

Bits128 checksum_of(const Slot& slot) { return ByteReader(std::span(slot).last(kChecksumBytes)).bits128(); }

/// Records after which it is known who owns the container, here or elsewhere.
bool names_owner(RecordType type) {
  return type == RecordType::own || type == RecordType::owned || type == RecordType::released ||
         type == RecordType::reclaimed;
}

bool is_unused(std::span<const std::byte> slot) {
  for (const std::byte b : slot)
    if (b != std::byte{0}) return false;
  return true;
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

struct Loaded {
  std::vector<Record> records;
  Bits128 last_checksum;
};

Loaded load_file(int fd, const std::filesystem::path& path) {
  std::vector<std::byte> bytes(kFileBytes);
  const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), 0);
  check_syscall(got, "read", path.native());
  if (got != static_cast<ssize_t>(kFileBytes))
    throw Error(Errc::internal, "the journal " + path.native() + " is " + std::to_string(got) +
                                    " bytes long instead of 65536; nothing is started from it");
  Loaded loaded;
  std::size_t good = 0;
  for (; good < kSlots; ++good) {
    const auto slot = std::span<const std::byte>(bytes).subspan(good * kSlotBytes, kSlotBytes);
    const auto decoded = decode_slot(slot, loaded.last_checksum, good + 1);
    if (!decoded) break;
    loaded.records.push_back(decoded->record);
    loaded.last_checksum = decoded->checksum;
  }
  // One torn slot may follow the last good one; anything beyond it means that a record in the middle was damaged.
  for (std::size_t slot = good + 1; slot < kSlots; ++slot)
    if (!is_unused(std::span<const std::byte>(bytes).subspan(slot * kSlotBytes, kSlotBytes)))
      throw Error(Errc::internal, "the journal " + path.native() + " is damaged at record " + std::to_string(good + 1) +
                                      "; nothing is started from it");
  return loaded;
}

}  // namespace

std::string_view name_of(RecordType type) noexcept {
  constexpr std::array<std::string_view, 8> names = {"NONE",     "OWN",   "GIVEN",  "RELEASED",
                                                     "RECLAIMED", "PREPARED", "OWNED", "REFUSED"};
  const auto index = static_cast<std::size_t>(type);
  return index < names.size() ? names[index] : "UNKNOWN";
}

Journal::Journal(const std::filesystem::path& directory, const std::string& container) : path_(directory / container) {
  open_and_lock(container);
  if (records_.size() + kRecordsPerAttemptMax <= kSlots) return;
  start_anew();
  open_and_lock(container);
}

void Journal::open_and_lock(const std::string& container) {
  while (!is_current(file_, path_)) {
    if (!std::filesystem::exists(path_)) create_file(path_, std::vector<std::byte>(kFileBytes), Naming::must_be_free);
    file_ = UniqueFd(check_syscall(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW), "open", path_.native()));
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0)
      throw Error(Errc::busy, "another migration of container " + container + " is under way; wait for its end");
  }
  Loaded loaded = load_file(file_.get(), path_);
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
    record.sequence = content.size() / kSlotBytes + 1;
    const Slot slot = encode_slot(record, previous);
    previous = checksum_of(slot);
    content.insert(content.end(), slot.begin(), slot.end());
  }
  content.resize(kFileBytes);
  create_file(path_, content, Naming::replaces);
}

Journal::~Journal() {
  if (!file_.is_open()) return;
  // Nobody knows what a failed write left on the disk: the lock is kept until this process ends, so that nobody is
  // answered from what the page cache says.
  if (has_failed_) static_cast<void>(file_.release());
  else if (records_.empty()) ::unlink(path_.c_str());
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

void Journal::append(Record record) {
  if (has_failed_)
    throw Error(Errc::internal, "the journal " + path_.native() + " failed before and takes no more records");
  if (records_.size() >= kSlots) throw Error(Errc::internal, "the journal " + path_.native() + " is full");
  record.sequence = records_.size() + 1;
  record.unix_time = static_cast<std::uint64_t>(std::time(nullptr));
  const Slot slot = encode_slot(record, last_checksum_);
  const auto offset = static_cast<off_t>(records_.size() * kSlotBytes);
  has_failed_ = true;  // until proven otherwise: after a failed write nobody knows what is on the disk
  const int written = check_syscall(::pwrite(file_.get(), slot.data(), slot.size(), offset), "write", path_.native());
  if (written != static_cast<int>(slot.size())) throw Error(EIO, "write", path_.native());
  check_syscall(::fdatasync(file_.get()), "fdatasync", path_.native());
  has_failed_ = false;
  last_checksum_ = checksum_of(slot);
  records_.push_back(std::move(record));
}

std::optional<Record> find_record(const std::filesystem::path& directory, const std::string& container,
                                  Bits128 migration) {
  const std::filesystem::path path = directory / container;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.is_open() && errno == ENOENT) return std::nullopt;
  check_syscall(fd.get(), "open", path.native());
  if (::flock(fd.get(), LOCK_SH | LOCK_NB) != 0)
    throw Error(Errc::busy, "a migration of container " + container + " is under way");
  std::optional<Record> found;
  for (const Record& record : load_file(fd.get(), path).records)
    if (record.migration == migration) found = record;
  return found;
}

}  // namespace vmigrate

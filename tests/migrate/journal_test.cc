// SPDX-License-Identifier: GPL-2.0-or-later
// The journal against torn writes, damage, a second opener and a disk that fails.
#include "migrate/journal.h"

#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSlotBytes = 256;
constexpr std::size_t kFileBytes = 65536;

Record record_of(RecordType type, std::uint64_t epoch) {
  return {.type = type, .migration = {7, 8}, .epoch = epoch, .image_root = {9, 10}, .peer = "beta (10.0.0.2:7700)"};
}

/// A journal of three records that nobody holds open.
fs::path make_journal(const TestDirectory& directory) {
  Journal journal(directory.path(), "ct");
  journal.append(record_of(RecordType::own, 1));
  journal.append(record_of(RecordType::given, 2));
  journal.append(record_of(RecordType::released, 2));
  return directory.path() / "ct";
}

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void put(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// How many records an opener finds; nothing if it refuses.
std::optional<std::size_t> records_in(const TestDirectory& directory) {
  try {
    return Journal(directory.path(), "ct").records().size();
  } catch (const Error& error) {
    CHECK(error.code_or(Errc::usage) == Errc::internal);
    return std::nullopt;
  }
}

}  // namespace

TEST_CASE("what was appended is there after reopening, in order and complete", "[migrate][journal]") {
  const TestDirectory directory;
  make_journal(directory);
  const Journal journal(directory.path(), "ct");
  REQUIRE(journal.records().size() == 3);
  const Record& given = journal.records()[1];
  CHECK(given.type == RecordType::given);
  CHECK(given.sequence == 2);
  CHECK(given.migration == Bits128{7, 8});
  CHECK(given.epoch == 2);
  CHECK(given.image_root == Bits128{9, 10});
  CHECK(given.peer == "beta (10.0.0.2:7700)");
  CHECK(given.unix_time > 1'600'000'000);
  CHECK(journal.newest()->type == RecordType::released);
  CHECK(journal.owner_epoch() == 2);
}

TEST_CASE("a journal goes on where it was closed", "[migrate][journal]") {
  const TestDirectory directory;
  make_journal(directory);
  Journal(directory.path(), "ct").append(record_of(RecordType::prepared, 5));
  CHECK(Journal(directory.path(), "ct").records().size() == 4);
}

TEST_CASE("a journal without a record leaves no file", "[migrate][journal]") {
  const TestDirectory directory;
  { const Journal journal(directory.path(), "ct"); }
  CHECK(fs::is_empty(directory.path()));
}

TEST_CASE("the file has its full size from the start, so that a full disk cannot strike later", "[migrate][journal]") {
  const TestDirectory directory;
  Journal journal(directory.path(), "ct");
  CHECK(fs::file_size(directory.path() / "ct") == kFileBytes);
}

TEST_CASE("any damaged byte of the last record makes it a torn one, which never happened", "[migrate][journal]") {
  const TestDirectory directory;
  const fs::path path = make_journal(directory);
  const std::string good = bytes_of(path);
  for (std::size_t at = 2 * kSlotBytes; at < 3 * kSlotBytes; ++at) {
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    put(path, damaged);
    INFO("byte " << at);
    CHECK(records_in(directory) == 2);
  }
}

TEST_CASE("any damaged byte of an earlier record makes the journal useless", "[migrate][journal]") {
  const TestDirectory directory;
  const fs::path path = make_journal(directory);
  const std::string good = bytes_of(path);
  for (std::size_t at = 0; at < 2 * kSlotBytes; ++at) {
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x01);
    put(path, damaged);
    INFO("byte " << at);
    CHECK_FALSE(records_in(directory).has_value());
  }
}

TEST_CASE("records cannot be taken out, swapped or repeated", "[migrate][journal]") {
  const TestDirectory directory;
  const fs::path path = make_journal(directory);
  const std::string good = bytes_of(path);
  const auto slot = [&](std::size_t n) { return good.substr(n * kSlotBytes, kSlotBytes); };
  const auto with = [&](const std::string& slots) { return slots + std::string(kFileBytes - slots.size(), '\0'); };
  SECTION("taken out") {
    put(path, with(slot(0) + slot(2)));
    CHECK(records_in(directory) == 1);
  }
  SECTION("swapped") {
    put(path, with(slot(1) + slot(0) + slot(2)));
    CHECK_FALSE(records_in(directory).has_value());
  }
  SECTION("repeated") {
    put(path, with(slot(0) + slot(1) + slot(2) + slot(1)));
    CHECK(records_in(directory) == 3);
  }
}

TEST_CASE("a record that is whole but not understood is no torn one: the journal is useless", "[migrate][journal]") {
  const TestDirectory directory;
  const fs::path path = make_journal(directory);
  std::string content = bytes_of(path);
  const Bits128 previous = checksum_in(std::as_bytes(std::span(content).subspan(kSlotBytes, kSlotBytes)));
  Record record = record_of(RecordType::given, 3);
  record.sequence = 3;
  auto slot = encode_slot(record, previous);
  SECTION("another format") { slot[3] = std::byte{'2'}; }
  SECTION("an unknown type") { slot[4] = std::byte{8}; }
  SECTION("no type") { slot[4] = std::byte{0}; }
  SECTION("a flag") { slot[6] = std::byte{1}; }
  SECTION("another number") { slot[8] = std::byte{4}; }
  SECTION("a peer that is too long") { slot[64] = std::byte{96}; }
  SECTION("a peer that is longer than the slot") { slot[65] = std::byte{0xff}; }
  SECTION("a further field") { slot[200] = std::byte{1}; }
  const auto checksum = slot_checksum(previous, std::span(slot).first(kSlotBytes - kJournalChecksumBytes));
  slot.resize(kSlotBytes - kJournalChecksumBytes);
  ByteWriter(slot).bits128(checksum);
  content.replace(2 * kSlotBytes, kSlotBytes, reinterpret_cast<const char*>(slot.data()), kSlotBytes);
  put(path, content);
  CHECK_FALSE(records_in(directory).has_value());
}

TEST_CASE("a file of another length is refused, at every length", "[migrate][journal]") {
  const TestDirectory directory;
  const fs::path path = make_journal(directory);
  for (const std::size_t length : {0U, 1U, 255U, 256U, 257U, 511U, 512U, 767U, 768U, 769U, 4096U, 65280U, 65535U}) {
    INFO("length " << length);
    fs::resize_file(path, length);
    CHECK_FALSE(records_in(directory).has_value());
    CHECK(fs::exists(path));
  }
}

TEST_CASE("a record after a torn one takes its place", "[migrate][journal]") {
  const TestDirectory directory;
  const fs::path path = make_journal(directory);
  std::string torn = bytes_of(path);
  for (std::size_t at = 2 * kSlotBytes + 100; at < 3 * kSlotBytes; ++at) torn[at] = 0;
  put(path, torn);
  Journal(directory.path(), "ct").append(record_of(RecordType::reclaimed, 3));
  const Journal journal(directory.path(), "ct");
  REQUIRE(journal.records().size() == 3);
  CHECK(journal.newest()->type == RecordType::reclaimed);
}

TEST_CASE("while one session holds the journal another is told to wait", "[migrate][journal]") {
  const TestDirectory directory;
  const Journal first(directory.path(), "ct");
  try {
    const Journal second(directory.path(), "ct");
    FAIL("it was opened twice");
  } catch (const Error& error) {
    CHECK(error.code_or(Errc::internal) == Errc::busy);
  }
  CHECK_NOTHROW(Journal(directory.path(), "other"));
}

TEST_CASE("a long peer name is cut, not refused", "[migrate][journal]") {
  const TestDirectory directory;
  Record record = record_of(RecordType::given, 2);
  record.peer = std::string(300, 'x');
  Journal(directory.path(), "ct").append(record);
  CHECK(Journal(directory.path(), "ct").newest()->peer == std::string(95, 'x'));
}

TEST_CASE("after a failed write the journal takes no more records until it was read again", "[migrate][journal]") {
  const TestDirectory directory;
  Journal journal(directory.path(), "ct");
  journal.append(record_of(RecordType::own, 1));
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  std::size_t bytes_that_fit = kSlotBytes;
  SECTION("nothing was written") {}
  SECTION("half of it was written") { bytes_that_fit += 100; }
  const rlimit limit{bytes_that_fit, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::string sentence;
  try {
    journal.append(record_of(RecordType::given, 2));
  } catch (const Error& error) {
    sentence = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  INFO(sentence);
  CHECK(sentence.find((directory.path() / "ct").string()) != std::string::npos);
  CHECK(sentence.find("Success") == std::string::npos);
  CHECK_THROWS_AS(journal.append(record_of(RecordType::given, 2)), Error);
  CHECK(journal.newest()->type == RecordType::own);
  CHECK_FALSE(journal.is_sound());
  journal.mend();
  journal.append(record_of(RecordType::reclaimed, 2));
  CHECK(journal.records().size() == 2);
}

TEST_CASE("a full journal takes no more records, and begins anew with the newest when opened again",
          "[migrate][journal]") {
  const TestDirectory directory;
  {
    Journal journal(directory.path(), "ct");
    for (std::uint64_t i = 1; i <= kFileBytes / kSlotBytes; ++i) journal.append(record_of(RecordType::own, i));
    CHECK_THROWS_AS(journal.append(record_of(RecordType::own, 1)), Error);
  }
  Journal journal(directory.path(), "ct");
  REQUIRE(journal.records().size() == 1);
  CHECK(journal.owner_epoch() == 256);
  journal.append(record_of(RecordType::given, 257));
  CHECK(journal.records().size() == 2);
  CHECK(fs::file_size(directory.path() / "ct") == kFileBytes);
  CHECK(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()) == 1);
}

TEST_CASE("a full journal whose last migration is not settled is not begun anew", "[migrate][journal]") {
  const TestDirectory directory;
  {
    Journal journal(directory.path(), "ct");
    for (std::uint64_t i = 1; i <= 250; ++i) journal.append(record_of(RecordType::own, i));
    journal.append(record_of(RecordType::given, 251));
  }
  CHECK_FALSE(records_in(directory).has_value());
  CHECK(find_record(directory.path(), "ct", {7, 8})->type == RecordType::given);
}

TEST_CASE("attempts that came to nothing do not count as owners", "[migrate][journal]") {
  const TestDirectory directory;
  Journal journal(directory.path(), "ct");
  CHECK(journal.owner_epoch() == 0);
  journal.append(record_of(RecordType::prepared, 2));
  journal.append(record_of(RecordType::refused, 2));
  CHECK(journal.owner_epoch() == 0);
  journal.append(record_of(RecordType::prepared, 2));
  journal.append(record_of(RecordType::owned, 2));
  CHECK(journal.owner_epoch() == 2);
  journal.append(record_of(RecordType::given, 3));
  CHECK(journal.owner_epoch() == 2);
  journal.append(record_of(RecordType::released, 3));
  CHECK(journal.owner_epoch() == 3);
}

TEST_CASE("a full journal remembers the owner's epoch when the newest record is a refusal", "[migrate][journal]") {
  const TestDirectory directory;
  {
    Journal journal(directory.path(), "ct");
    for (std::uint64_t i = 1; i <= 250; ++i) journal.append(record_of(RecordType::owned, i));
    journal.append(record_of(RecordType::refused, 251));
  }
  CHECK(Journal(directory.path(), "ct").owner_epoch() == 250);
}

TEST_CASE("the newest record about a migration is found among those of others", "[migrate][journal]") {
  const TestDirectory directory;
  {
    Journal journal(directory.path(), "one");
    journal.append({.type = RecordType::prepared, .migration = {1, 1}, .epoch = 2});
    journal.append({.type = RecordType::owned, .migration = {1, 1}, .epoch = 2});
    journal.append({.type = RecordType::given, .migration = {3, 3}, .epoch = 3});
    CHECK(journal.newest_of({1, 1})->type == RecordType::owned);
    CHECK_FALSE(journal.newest_of({2, 2}).has_value());
  }
  CHECK(find_record(directory.path(), "one", {1, 1})->type == RecordType::owned);
  CHECK_FALSE(find_record(directory.path(), "one", {4, 4}).has_value());
  CHECK_FALSE(find_record(directory.path(), "other", {1, 1}).has_value());
  CHECK_FALSE(find_record(directory.path() / "nowhere", "one", {1, 1}).has_value());
}

TEST_CASE("what a session still holds is no answer yet", "[migrate][journal]") {
  const TestDirectory directory;
  Journal journal(directory.path(), "ct");
  journal.append({.type = RecordType::owned, .migration = {1, 1}, .epoch = 2});
  CHECK_THROWS_AS(find_record(directory.path(), "ct", {1, 1}), Error);
}

TEST_CASE("a damaged journal gives no answer, not even that there is no record", "[migrate][journal]") {
  const TestDirectory directory;
  const fs::path path = make_journal(directory);
  std::string damaged = bytes_of(path);
  damaged[10] = static_cast<char>(damaged[10] ^ 1);
  put(path, damaged);
  CHECK_THROWS_AS(find_record(directory.path(), "ct", {1, 1}), Error);
}

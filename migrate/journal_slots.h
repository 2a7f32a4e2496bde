// SPDX-License-Identifier: GPL-2.0-or-later
// The bytes of a journal: records in slots, each chained to the one before. Pure: no I/O.
#pragma once

#include <cstddef>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace vmigrate {

inline constexpr std::size_t kJournalSlotBytes = 256;
inline constexpr std::size_t kJournalChecksumBytes = 16;  ///< the last of a slot
inline constexpr std::size_t kJournalBytes = 64 << 10;
inline constexpr std::size_t kJournalSlotsMax = kJournalBytes / kJournalSlotBytes;

/// The numbers are the file's and never change; zero is never valid (an unused slot).
enum class RecordType : std::uint16_t {
  own = 1,       ///< source: I own it and may run it
  given = 2,     ///< source: I must not run it again; written before GO is sent
  released = 3,  ///< source: the destination runs it; written before our copy is destroyed
  reclaimed = 4, ///< source: the destination refused; written before our copy is thawed
  prepared = 5,  ///< destination: everything is verified and restored, held; written before READY is sent
  owned = 6,     ///< destination: GO was accepted; written before the container runs
  refused = 7,   ///< destination: I will never accept GO for this attempt; written before anybody is told
};
inline constexpr std::array kRecordTypes = {RecordType::own,       RecordType::given,    RecordType::released,
                                            RecordType::reclaimed, RecordType::prepared, RecordType::owned,
                                            RecordType::refused};
std::string_view name_of(RecordType type) noexcept;
/// How failpoints call it: "journal.given.before_write".
inline constexpr std::string_view kJournalSubject = "journal";
std::string_view point_of(RecordType type) noexcept;

struct Record {
  RecordType type = RecordType::own;
  std::uint64_t sequence = 0;     ///< 1, 2, 3 …, set by append()
  Bits128 migration;              ///< zero for `own`
  std::uint64_t epoch = 0;        ///< grows by one at every change of owner
  Bits128 image_root;             ///< digest of the volume, where one is known
  std::uint64_t unix_time = 0;    ///< seconds, for people; no decision depends on it
  std::string peer;               ///< the other host, at most 95 bytes, for people
};

/// kJournalSlotBytes bytes. `previous` is the checksum of the slot before, zero for the first.
std::vector<std::byte> encode_slot(const Record& record, Bits128 previous);
/// What a slot that follows `previous` has to end with: the first half of SHA-256 over the two, so that no slot can be
/// taken out. `fields` are all bytes of the slot before its checksum.
Bits128 slot_checksum(Bits128 previous, std::span<const std::byte> fields);
/// The one that a slot ends with.
Bits128 checksum_in(std::span<const std::byte> slot);

struct LoadedSlots {
  std::vector<Record> records;
  Bits128 last_checksum;          ///< of the newest record; zero without one
};

/// Reads a whole journal, kJournalBytes long. A slot torn at the end is one that was never acknowledged and is ignored.
/// Throws Error(Errc::internal) naming `journal` when a bad slot stands before a good one, or when a whole one says
/// what we would not have written: a later version's record must not be taken for a torn one.
LoadedSlots load_slots(std::span<const std::byte> content, std::string_view journal);

}  // namespace vmigrate

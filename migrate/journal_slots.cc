// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/journal_slots.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/assert.h"
#include "base/error.h"

namespace vmigrate {
namespace {

constexpr std::size_t kPeerBytesMax = 95;
constexpr std::uint32_t kMagic = 0x314a4d56;  // "VMJ1"

/// Nothing when the slot is unused, torn or does not follow its predecessor.
std::optional<Record> decode_slot(std::span<const std::byte> slot, Bits128 previous, std::uint64_t sequence) {
  const auto fields = slot.first(kJournalSlotBytes - kJournalChecksumBytes);
  ByteReader reader(fields);
  if (reader.u32() != kMagic || checksum_in(slot) != slot_checksum(previous, fields)) return std::nullopt;
  Record record;
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
  return record;
}

bool is_unused(std::span<const std::byte> slot) {
  return std::ranges::all_of(slot, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

std::string_view name_of(RecordType type) noexcept {
  constexpr std::array<std::string_view, 8> names = {"NONE",     "OWN",   "GIVEN",  "RELEASED",
                                                     "RECLAIMED", "PREPARED", "OWNED", "REFUSED"};
  const auto index = static_cast<std::size_t>(type);
  return index < names.size() ? names[index] : "UNKNOWN";
}

std::vector<std::byte> encode_slot(const Record& record, Bits128 previous) {
  std::vector<std::byte> slot;
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
  slot.resize(kJournalSlotBytes - kJournalChecksumBytes);
  const Bits128 sum = slot_checksum(previous, slot);
  ByteWriter(slot).bits128(sum);
  MIGRATE_ASSERT(slot.size() == kJournalSlotBytes);
  return slot;
}

Bits128 slot_checksum(Bits128 previous, std::span<const std::byte> fields) {
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

Bits128 checksum_in(std::span<const std::byte> slot) { return ByteReader(slot.last(kJournalChecksumBytes)).bits128(); }

LoadedSlots load_slots(std::span<const std::byte> content, std::string_view journal) {
  MIGRATE_ASSERT(content.size() == kJournalBytes);
  const auto slot = [content](std::size_t at) { return content.subspan(at * kJournalSlotBytes, kJournalSlotBytes); };
  LoadedSlots loaded;
  std::size_t good = 0;
  for (; good < kJournalSlotsMax; ++good) {
    const auto record = decode_slot(slot(good), loaded.last_checksum, good + 1);
    if (!record) break;
    loaded.records.push_back(*record);
    loaded.last_checksum = checksum_in(slot(good));
  }
  // One torn slot may follow the last good one; anything beyond it means that a record in the middle was damaged.
  for (std::size_t at = good + 1; at < kJournalSlotsMax; ++at)
    if (!is_unused(slot(at)))
      throw Error(Errc::internal, "the journal " + std::string(journal) + " is damaged at record " +
                                      std::to_string(good + 1) + "; nothing is started from it");
  return loaded;
}

}  // namespace vmigrate

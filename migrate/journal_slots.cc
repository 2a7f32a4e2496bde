// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/journal_slots.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/assert.h"
#include "base/error.h"
#include "engine/zero_scan.h"

namespace vmigrate {
namespace {

constexpr std::size_t kPeerBytesMax = 95;
constexpr std::uint32_t kMagic = 0x314a4d56;  // "VMJ1"

bool is_known(RecordType type) { return type >= RecordType::own && type <= RecordType::refused; }

/// Not so when the slot is unused or torn.
bool follows(Bits128 previous, std::span<const std::byte> slot) {
  return checksum_in(slot) == slot_checksum(previous, slot.first(kJournalSlotBytes - kJournalChecksumBytes));
}

/// Nothing if we would have written anything of it differently.
std::optional<Record> decode_slot(std::span<const std::byte> slot, Bits128 previous) {
  ByteReader reader(slot);
  reader.u32();
  Record record;
  record.type = static_cast<RecordType>(reader.u16());
  reader.u16();
  record.sequence = reader.u64();
  record.migration = reader.bits128();
  record.epoch = reader.u64();
  record.image_root = reader.bits128();
  record.unix_time = reader.u64();
  const auto peer = reader.take(std::min<std::size_t>(reader.u16(), kPeerBytesMax));
  record.peer.assign(reinterpret_cast<const char*>(peer.data()), peer.size());
  if (!is_known(record.type) || !std::ranges::equal(encode_slot(record, previous), slot)) return std::nullopt;
  return record;
}

[[noreturn]] void refuse(std::string_view journal, const std::string& why) {
  throw Error(Errc::internal, "the journal " + std::string(journal) + " " + why + "; nothing is started from it");
}

}  // namespace

std::string_view name_of(RecordType type) noexcept {
  constexpr std::array<std::string_view, 8> names = {"NONE",     "OWN",   "GIVEN",  "RELEASED",
                                                     "RECLAIMED", "PREPARED", "OWNED", "REFUSED"};
  const auto index = static_cast<std::size_t>(type);
  return index < names.size() ? names[index] : "UNKNOWN";
}

std::string_view point_of(RecordType type) noexcept {
  constexpr std::array<std::string_view, 8> names = {"none",      "own",      "given", "released",
                                                     "reclaimed", "prepared", "owned", "refused"};
  const auto index = static_cast<std::size_t>(type);
  return index < names.size() ? names[index] : "unknown";
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
  for (; good < kJournalSlotsMax && follows(loaded.last_checksum, slot(good)); ++good) {
    const auto record = decode_slot(slot(good), loaded.last_checksum);
    if (!record || record->sequence != good + 1)
      refuse(journal, "holds a record, number " + std::to_string(good + 1) + ", that this version does not understand");
    loaded.records.push_back(*record);
    loaded.last_checksum = checksum_in(slot(good));
  }
  // One torn slot may follow the last good one; anything beyond it means that a record in the middle was damaged.
  for (std::size_t at = good + 1; at < kJournalSlotsMax; ++at)
    if (!is_zero(slot(at))) refuse(journal, "is damaged at record " + std::to_string(good + 1));
  return loaded;
}

}  // namespace vmigrate

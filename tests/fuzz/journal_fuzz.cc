// SPDX-License-Identifier: GPL-2.0-or-later
// The slots of a journal: whatever is believed is what encode_slot() writes.
#include "migrate/journal_slots.h"

#include <algorithm>
#include <vector>

#include "tests/fuzz/fuzz_targets.h"

namespace vmigrate::fuzz {
namespace {

bool is_unused(Bytes slot) {
  return std::ranges::all_of(slot, [](std::byte b) { return b == std::byte{0}; });
}

void load(const std::vector<std::byte>& content) {
  const auto loaded = accepted({Errc::internal}, [&] { return load_slots(content, "fuzz"); });
  if (!loaded) return;
  Bits128 previous;
  Bytes rest(content);
  for (const Record& record : loaded->records) {
    const auto slot = encode_slot(record, previous);
    MIGRATE_ASSERT(std::ranges::equal(slot, rest.first(kJournalSlotBytes)));
    previous = checksum_in(slot);
    rest = rest.subspan(kJournalSlotBytes);
  }
  MIGRATE_ASSERT(previous == loaded->last_checksum);
}

/// As if whoever wrote the slots had known how: a fuzzer does not guess SHA-256.
void put_checksums_right(std::vector<std::byte>& content) {
  Bits128 previous;
  for (std::size_t at = 0; at < content.size(); at += kJournalSlotBytes) {
    const auto slot = std::span(content).subspan(at, kJournalSlotBytes);
    if (is_unused(slot)) return;
    previous = slot_checksum(previous, slot.first(kJournalSlotBytes - kJournalChecksumBytes));
    std::vector<std::byte> checksum;
    ByteWriter(checksum).bits128(previous);
    std::ranges::copy(checksum, slot.last(kJournalChecksumBytes).begin());
  }
}

}  // namespace

void journal(Bytes input) {
  std::vector<std::byte> content(kJournalBytes);
  std::ranges::copy(input.first(std::min(input.size(), content.size())), content.begin());
  load(content);
  put_checksums_right(content);
  load(content);
}

}  // namespace vmigrate::fuzz

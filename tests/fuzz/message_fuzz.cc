// SPDX-License-Identifier: GPL-2.0-or-later
// What decodes encodes to the same bytes: there is one way to say each thing.
#include "transport/message.h"

#include <algorithm>

#include "tests/fuzz/fuzz_targets.h"

namespace vmigrate::fuzz {

void message(Bytes input) {
  if (input.empty()) return;
  const auto type = std::to_integer<std::uint8_t>(input[0]);
  const Bytes payload = input.subspan(1);
  const auto decoded = accepted({Errc::protocol_violation}, [&] { return decode(type, payload); });
  if (!decoded) return;
  MIGRATE_ASSERT(type_of(*decoded) == type);
  std::vector<std::byte> again;
  encode(*decoded, again);
  MIGRATE_ASSERT(std::ranges::equal(again, payload));
}

}  // namespace vmigrate::fuzz

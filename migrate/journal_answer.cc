// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/journal_answer.h"

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/container_runtime.h"
#include "migrate/journal.h"

namespace vmigrate {

Message answer_from_journal(const std::filesystem::path& journals, const Ask& ask, Disk& disk) {
  check_container_id(ask.container);
  std::optional<Record> record;
  try {
    record = find_record(journals, ask.container, ask.id, disk);
  } catch (const Error& failure) {
    log(LogLevel::info, std::string("event=no_answer_yet reason=") + failure.what());
    return Wait{ask.id};
  }
  if (!record || record->type == RecordType::own || record->type == RecordType::reclaimed)
    return Abort{ask.id, static_cast<std::uint32_t>(Errc::cancelled), "the attempt is over; nothing was given away"};
  if (record->type == RecordType::owned) return Running{ask.id, record->epoch};
  if (record->type == RecordType::refused) return Refused{ask.id};
  return Wait{ask.id};
}

}  // namespace vmigrate

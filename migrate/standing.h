// SPDX-License-Identifier: GPL-2.0-or-later
// How it stands with each container that a host has migrated, or is migrating: what `vmigrate status` tells.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "migrate/journal.h"
#include "migrate/state_dir.h"

namespace vmigrate {

/// Read without taking part: no lock is taken, nothing is written.
struct Standing {
  std::string container;
  std::vector<Record> records;        ///< oldest first
  std::string damage;                 ///< why journal or waybill cannot be read; empty if they can
  std::optional<Waybill> waybill;     ///< of a migration that is not at its end
  std::vector<KeptCopy> kept;         ///< of earlier times
  std::string peer_says;              ///< the other side's answer to Ask, in words; empty if it was not asked
};

/// Of every container with a journal, in the order of their names.
std::vector<Standing> read_standings(const StateDir& state);
/// What a journal holds, on this host or on a dead one's disk. Throws Error(Errc::internal) when it is damaged.
std::vector<Record> read_journal(const std::filesystem::path& file);

/// Of one container; of one that was never migrated there are no records.
Standing read_standing(const StateDir& state, const std::string& container);

/// "this host", "the other host (beta)", or "nobody, until …".
std::string who_may_run(const Standing& standing);
/// What must hold before anything starts the container here. Throws Error(Errc::in_doubt) or Error(Errc::not_owner).
void check_may_run(const Standing& standing);
/// True if only the other side's word, or a human, can tell who may run it.
bool is_in_doubt(const Standing& standing);
/// "RUNNING: it runs there", and so on.
std::string in_words(const Message& answer);

std::string to_text(const Record& record);
std::string to_text(const KeptCopy& copy);
std::string to_text(const Standing& standing);
nlohmann::json to_json(const Standing& standing);

}  // namespace vmigrate

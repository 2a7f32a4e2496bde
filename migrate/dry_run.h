// SPDX-License-Identifier: GPL-2.0-or-later
// `--dry-run`: everything is looked at and measured, nothing is changed.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/clock.h"
#include "migrate/cancellation.h"
#include "migrate/departure.h"
#include "migrate/progress.h"
#include "transport/channel.h"

namespace vmigrate {

struct DryRunParts {
  Departure& departure;
  Channel& channel;             ///< Hello is behind us
  Clock& clock;
  Progress& progress;
  const Cancellation& cancellation;
  MigrationId id;
  std::string host_name;
};

/// The source's half: the destination's opinion, the link over the real TLS path (at most 2 s and 256 MiB), the dirty
/// rate by the tracker. Returns the report with the prediction; throws Error where the migration would be refused.
Task<nlohmann::json> run_dry_run(DryRunParts parts);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// `vmigrate --all`: asks the source what runs there, and has all of it moved.
#pragma once

#include "migrate/evacuation.h"
#include "migrate/orchestrator.h"

namespace vmigrate {

/// What runs on errand.source: looked at directly if that is here, else asked of its agent. Throws Error.
Task<Inventory> ask_inventory(const SessionHost& here, const Errand& errand, Cancellation& cancellation);

/// `errand` without a container: done for each of the source, as run_errand() does it. Its bandwidth_max is shared
/// by those under way. Returns the summary; never throws.
Task<nlohmann::json> run_evacuation(const SessionHost& here, Errand errand, EvacuationPlan plan, Progress& progress,
                                    Cancellation& cancellation);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The commands, each run to its exit code: the composition root builds the parts on its stack and passes references.
#pragma once

#include "migrate/options.h"

namespace vmigrate {

int run(const MigrateCommand& command);
int run(const EvacuateCommand& command);
int run(const SetCommand& command);
int run(const ServeCommand& command);
int run(const PkiInitCommand& command);
int run(const PkiIssueCommand& command);
int run(const RulesCommand& command);
int run(const ImageCreateCommand& command);
int run(const ImageDigestCommand& command);
int run(const StatesCommand& command);
int run(const StatusCommand& command);
int run(const MayRunCommand& command);
int run(const PurgeCommand& command);
int run(const RecoverCommand& command);
int run(const JournalCommand& command);
int run(const ResolveCommand& command);

}  // namespace vmigrate

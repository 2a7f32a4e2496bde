// SPDX-License-Identifier: GPL-2.0-or-later
// What a host says about itself, and whether a container from one can live on another.
#pragma once

#include <string>

#include "checkpoint/checkpointer.h"
#include "migrate/documents.h"

namespace vmigrate {

/// Architecture, kernel and CPU features of this host, and its tools as the checkpointer's own check reports them.
/// Throws Error(Errc::criu_missing).
Task<HostFacts> read_host_facts(Checkpointer& checkpointer, std::string runtime);

/// The features the processes may be using: the destination must have all of the source's. Throws
/// Error(Errc::incompatible_host) naming what is missing and where.
void check_compatible(const HostFacts& source, const HostFacts& destination, const std::string& destination_name);

/// The words after the first "flags" (x86) or "Features" (arm) line of /proc/cpuinfo.
std::vector<std::string> parse_cpu_flags(const std::string& cpuinfo);

/// This host's name, for people.
std::string host_name();

}  // namespace vmigrate

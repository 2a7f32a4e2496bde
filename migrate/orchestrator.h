// SPDX-License-Identifier: GPL-2.0-or-later
// The command's side of a migration: who is told what, and by whom it is done.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "migrate/session_start.h"

namespace vmigrate {

/// `vmigrate SRC DST CTID`, as typed.
struct Errand {
  std::string source;
  std::string destination;
  std::string container;
  bool is_pull = false;
  bool is_dry_run = false;
  MigrationOptions options;
};

/// True for "localhost" and for this host's own name: that side needs no agent, we do it ourselves.
bool is_here(const std::string& host);

/// Throws Error(Errc::usage) for an errand that makes no sense, before anybody is contacted; check_hosts() looks at all
/// but the container.
void check_errand(const Errand& errand);
void check_hosts(const Errand& errand);

/// Has the errand done: here if a side is here, else by the agent of SRC (or DST with is_pull). Returns the report;
/// never throws.
Task<nlohmann::json> run_errand(const SessionHost& here, Errand errand, Progress& progress, Cancellation& cancellation);

/// Has the agent at `host`, a container's source, change how fast it sends. Returns the answer of docs/protocol.md.
/// Throws Error.
Task<nlohmann::json> change_rates(const SessionHost& here, std::string host, RateChange change);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The command's exit codes. docs/exit-codes.md lists the same; a test compares them.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "migrate/report.h"

namespace vmigrate {

inline constexpr int kExitDone = 0;
inline constexpr int kExitInDoubt = 3;
inline constexpr int kExitCleanupPending = 4;
inline constexpr int kExitSomeStayed = 16;   ///< of --all: the others have gone

/// Where vzmigrate has a number for the same thing, it is that number. Sources: `vzmigrate` exit codes as listed in the
/// project's notes on migration systems; 2 to 5 follow the hand-over's outcomes, 70 and 77 are those of sysexits.h.
struct ExitCode {
  Errc errc;
  int code;
};
inline constexpr std::array kExitCodes = {
    ExitCode{Errc::usage, 1},
    ExitCode{Errc::cancelled, 2},
    ExitCode{Errc::in_doubt, 3},
    ExitCode{Errc::connect_failed, 5},
    ExitCode{Errc::copy_failed, 6},
    ExitCode{Errc::restore_failed, 7},
    ExitCode{Errc::checkpoint_failed, 8},
    ExitCode{Errc::already_exists, 9},
    ExitCode{Errc::unknown_container, 10},
    ExitCode{Errc::container_not_running, 11},
    ExitCode{Errc::not_owner, 12},
    ExitCode{Errc::busy, 13},
    ExitCode{Errc::same_host, 14},
    ExitCode{Errc::invalid_name, 15},
    ExitCode{Errc::connection_lost, 21},
    ExitCode{Errc::timed_out, 22},
    ExitCode{Errc::tls_failed, 23},
    ExitCode{Errc::version_mismatch, 24},
    ExitCode{Errc::not_tls, 25},
    ExitCode{Errc::protocol_violation, 26},
    ExitCode{Errc::disk_full, 30},
    ExitCode{Errc::no_space, 31},
    ExitCode{Errc::criu_missing, 32},
    ExitCode{Errc::incompatible_host, 33},
    ExitCode{Errc::rootfs_not_on_device, 34},
    ExitCode{Errc::unsupported_container, 36},
    ExitCode{Errc::tracker_unavailable, 40},
    ExitCode{Errc::tracking_lost, 41},
    ExitCode{Errc::digest_mismatch, 42},
    ExitCode{Errc::not_converging, 43},
    ExitCode{Errc::freeze_timed_out, 44},
    ExitCode{Errc::internal, 70},
    ExitCode{Errc::not_authorised, 77},
};

constexpr int exit_code_of(Errc errc) {
  for (const auto& row : kExitCodes)
    if (row.errc == errc) return row.code;
  return 70;
}
constexpr int exit_code_of(Outcome outcome, std::optional<Errc> errc) {
  switch (outcome) {
    case Outcome::migrated:
    case Outcome::predicted:
      return kExitDone;
    case Outcome::cleanup_pending:
      return kExitCleanupPending;
    case Outcome::in_doubt:
      return kExitInDoubt;
    case Outcome::aborted:
      break;
  }
  return exit_code_of(errc.value_or(Errc::internal));
}

constexpr bool every_failure_has_its_own_exit_code() {
  if (kExitCodes.size() != static_cast<std::size_t>(kErrcLast)) return false;
  for (const auto& row : kExitCodes)
    if (row.code == kExitCleanupPending || row.code == kExitSomeStayed) return false;
  for (std::size_t i = 0; i < kExitCodes.size(); ++i)
    for (std::size_t j = i + 1; j < kExitCodes.size(); ++j)
      if (kExitCodes[i].errc == kExitCodes[j].errc || kExitCodes[i].code == kExitCodes[j].code) return false;
  return true;
}
static_assert(every_failure_has_its_own_exit_code());

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// Runs one command to its end, with a deadline and a bound on what is kept of its output.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/error.h"

namespace vmigrate {

struct Command {
  std::vector<std::string> argv;       ///< argv[0] is looked up in PATH
  std::string input;                   ///< given on standard input; empty means /dev/null
  /// Standard output and error go to /dev/null instead of a pipe: for commands whose grandchildren keep them open.
  bool discards_output = false;
  std::chrono::milliseconds timeout{30'000};
  /// A command that waits for ever for a child of its own that is dead already (CRIU, killed, while what it forked
  /// keeps the socket open) is killed this long after that child's death; 0: it has until the timeout.
  std::chrono::milliseconds patience_with_dead_children{0};
};

struct CommandResult {
  int exit_status = 0;                 ///< 128 + signal when a signal ended it
  std::string output;                  ///< the first 1 MiB of standard output
  std::string errors;                  ///< the last 64 KiB of standard error
};

/// Blocks until the command has ended. Throws Error: ENOENT and friends when it cannot be started,
/// Errc::timed_out after killing it at the deadline, or when its patience with dead children is over. A non-zero exit
/// status is an answer, not a failure.
/// The child gets an empty signal mask, its own process group, and no descriptors but 0, 1 and 2.
CommandResult run_command(const Command& command);

/// run_command(), but a non-zero exit status throws Error(errc, "<argv[0]> <argv[1]>: <last line of its errors>").
CommandResult run_checked(const Command& command, Errc errc);

/// For a sentence that is shown elsewhere: the first line of what a command wrote, at most 200 characters of it, each
/// that is not printable ASCII as '?'.
std::string first_line_of(const std::string& errors);

}  // namespace vmigrate

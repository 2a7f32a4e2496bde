// SPDX-License-Identifier: GPL-2.0-or-later
// The command. Failures that got this far become one sentence and an exit code here.
#include <malloc.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "base/failpoint.h"
#include "base/log.h"
#include "migrate/commands.h"
#include "migrate/exit_code.h"
#include "migrate/failpoint_channel.h"

namespace {

/// glibc gives nearly every thread a heap of its own, and each keeps what was freed in it: an agent that 1,000
/// connections had come to held 50 to 70 MiB, with two heaps it is 33 to 41. What is large or frequent here is in
/// buffers that are used again, so threads seldom wait for one another's heap.
void share_heaps() {
#ifdef __GLIBC__
  ::mallopt(M_ARENA_MAX, 2);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  using namespace vmigrate;
  share_heaps();
  ::signal(SIGPIPE, SIG_IGN);   // a peer that is gone is an error to handle, not a reason to die
  try {
    if (const char* failpoints = std::getenv("VMIGRATE_FAILPOINTS")) set_failpoints(failpoints, failpoint_names());
    const auto parsed = parse_options(argc, argv);
    if (const auto* help = std::get_if<HelpText>(&parsed)) {
      std::cout << help->text;
      return kExitDone;
    }
    const auto& options = std::get<ParsedOptions>(parsed);
    const bool is_agent = std::holds_alternative<ServeCommand>(options.command);
    set_log_level(options.verbosity > (is_agent ? 0 : 1) ? LogLevel::debug
                  : options.verbosity > 0 || is_agent    ? LogLevel::info
                                                         : LogLevel::error);
    return std::visit([](const auto& command) { return run(command); }, options.command);
  } catch (...) {
    const Failure failure = failure_of(std::current_exception(), Errc::internal);
    std::cerr << "vmigrate: " << failure.sentence << std::endl;
    return exit_code_of(failure.code);
  }
}

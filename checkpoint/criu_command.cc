// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/criu_command.h"

namespace vmigrate {
namespace {

// Everything variable is a positional argument: nothing is ever spliced into the text that the shell reads. CRIU reads
// default.conf whoever calls it, runc.conf when runc does; crun names no file unless CRIU is 4.2 and crun newer still.
constexpr const char* kScript =
    "config=$1; shift; mount -t tmpfs -o mode=0700,size=64k vmigrate /etc/criu && "
    "printf '%s' \"$config\" >/etc/criu/default.conf && : >/etc/criu/runc.conf && : >/etc/criu/crun.conf && exec "
    "\"$@\"";

}  // namespace

std::vector<std::string> with_criu_config(const std::string& criu_config, const std::vector<std::string>& argv) {
  // The last two places CRIU would read options from are its environment and its caller's home.
  std::vector<std::string> words = {"unshare", "--mount", "--propagation", "slave", "env",  "--unset=CRIU_CONFIG_FILE",
                                    "HOME=/nonexistent", "sh", "-c",       kScript, "sh",   criu_config};
  words.insert(words.end(), argv.begin(), argv.end());
  return words;
}

}  // namespace vmigrate

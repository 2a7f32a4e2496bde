// SPDX-License-Identifier: GPL-2.0-or-later
// Commands of an agent that died while CRIU worked for it.
#pragma once

#include <chrono>
#include <filesystem>

namespace vmigrate {

/// Ends every process that works on the checkpoint in `images`: it was given the directory as an argument, or stands in
/// it, as CRIU does. A dump is better left to its own end than killed in the middle of a task, so they get `patience`
/// first. Blocking. Throws Error(Errc::timed_out) if one does not die.
void end_commands_on(const std::filesystem::path& images, std::chrono::milliseconds patience);

}  // namespace vmigrate

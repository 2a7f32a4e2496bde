// SPDX-License-Identifier: GPL-2.0-or-later
// One line per event on stderr: time, level, then key=value pairs in the words of the docs.
#pragma once

#include <string_view>

namespace vmigrate {

/// `none` is for a threshold only.
enum class LogLevel { debug, info, warn, error, none };

/// Lines below `level` are dropped. The default is info. Call before threads start.
void set_log_level(LogLevel level) noexcept;

/// Writes one line, whole, from any thread. Control characters in `text` are written as '?', so that no name from
/// elsewhere can forge a line.
void log(LogLevel level, std::string_view text) noexcept;

}  // namespace vmigrate

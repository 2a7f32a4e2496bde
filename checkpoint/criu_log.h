// SPDX-License-Identifier: GPL-2.0-or-later
// CRIU's log as a reason a person can act upon.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace vmigrate {

/// What made CRIU fail, in its own words without time stamps and source lines, with a remedy where we know one. Empty
/// if the log names no error.
std::string reason_in_criu_log(std::string_view log);
/// The same for the last part of a log file; empty if there is none.
std::string reason_in_criu_log_file(const std::filesystem::path& file);

/// The last line that is not empty, with nothing unprintable; empty if there is no such file.
std::string last_line_of_file(const std::filesystem::path& file);

}  // namespace vmigrate

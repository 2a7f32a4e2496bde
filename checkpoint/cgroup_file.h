// SPDX-License-Identifier: GPL-2.0-or-later
// The files of a cgroup: short texts, taken or refused as a whole.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace vmigrate {

/// Empty if there is no such file, or none any more. Throws Error.
std::string contents_of(const std::filesystem::path& file);
/// Throws Error.
void write_to(const std::filesystem::path& file, std::string_view text);

}  // namespace vmigrate

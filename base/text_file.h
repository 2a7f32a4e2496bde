// SPDX-License-Identifier: GPL-2.0-or-later
// The small files in which a kernel tells what it knows: /proc, /sys, cgroups.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace vmigrate {

/// The whole file. Nothing if there is none, or none any more: files of a process and of a cgroup can be opened, and
/// then not read, when what they tell of ends in between (ESRCH of /proc, ENODEV of a cgroup). Throws Error if it
/// cannot be read for another reason, or is longer than 16 MiB.
std::optional<std::string> read_text(const std::filesystem::path& file);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// What has to survive a power cut.
#pragma once

#include <filesystem>

namespace vmigrate {

/// fsync(2) of a file or directory: its content, or the names in it, are on stable storage. Throws Error.
void sync_to_disk(const std::filesystem::path& path);

}  // namespace vmigrate

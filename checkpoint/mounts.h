// SPDX-License-Identifier: GPL-2.0-or-later
// What is mounted where, and getting rid of it.
#pragma once

#include <filesystem>

namespace vmigrate {

/// In our mount namespace, whatever links lead to `path`. Throws when the mount table cannot be read.
bool is_anything_mounted_at_or_beneath(const std::filesystem::path& path);

/// Unmounts everything mounted at `path` or beneath it in our mount namespace, innermost first. False if something is
/// left.
bool unmount_all_at_or_beneath(const std::filesystem::path& path) noexcept;

}  // namespace vmigrate

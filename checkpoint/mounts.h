// SPDX-License-Identifier: GPL-2.0-or-later
// Getting rid of mounts.
#pragma once

#include <filesystem>

namespace vmigrate {

/// Unmounts everything mounted at `path` or beneath it in our mount namespace, innermost first. False if something is
/// left.
bool unmount_all_at_or_beneath(const std::filesystem::path& path) noexcept;

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The text of /proc/self/mountinfo.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vmigrate {

/// One line of mountinfo, unescaped.
struct Mount {
  std::uint64_t id = 0;
  std::uint64_t parent_id = 0;
  unsigned major = 0;  ///< 0: not on a block device
  unsigned minor = 0;
  std::string root;  ///< which part of the file system is mounted; "/" is all of it
  std::string mount_point;
  std::string file_system;  ///< "ext4"
};

/// The topmost mount exactly at `mount_point`, of possibly several on top of each other. Lines it cannot read are
/// skipped.
std::optional<Mount> topmost_mount_at(std::string_view mountinfo, std::string_view mount_point);

}  // namespace vmigrate

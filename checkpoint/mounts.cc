// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/mounts.h"

#include <sys/mount.h>

#include <cerrno>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text_file.h"

namespace vmigrate {
namespace {

/// mountinfo writes blanks and backslashes as three octal digits.
std::string unescape(const std::string& field) {
  std::string text;
  for (std::size_t at = 0; at < field.size(); ++at) {
    if (field[at] != '\\' || at + 3 >= field.size()) {
      text += field[at];
      continue;
    }
    text += static_cast<char>((field[at + 1] - '0') * 64 + (field[at + 2] - '0') * 8 + (field[at + 3] - '0'));
    at += 3;
  }
  return text;
}

/// In the order in which they were mounted.
std::vector<std::string> mounts_at_or_beneath(const std::string& path) {
  const auto text = read_text("/proc/self/mountinfo");
  if (!text) throw Error(ENOENT, "read", "/proc/self/mountinfo");
  std::istringstream mountinfo(*text);
  std::vector<std::string> found;
  for (std::string line; std::getline(mountinfo, line);) {
    std::istringstream words(line);
    std::string skipped, field;
    words >> skipped >> skipped >> skipped >> skipped >> field;
    const std::string point = unescape(field);
    if (point == path || point.starts_with(path + "/")) found.push_back(point);
  }
  return found;
}

}  // namespace

bool is_anything_mounted_at_or_beneath(const std::filesystem::path& path) {
  const auto real = std::filesystem::weakly_canonical(path.parent_path()) / path.filename();
  return !mounts_at_or_beneath(real.native()).empty();
}

bool unmount_all_at_or_beneath(const std::filesystem::path& path) noexcept try {
  const auto points = mounts_at_or_beneath(path.native());
  for (auto point = points.rbegin(); point != points.rend(); ++point)
    ::umount2(point->c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  return mounts_at_or_beneath(path.native()).empty();
} catch (const std::exception&) {
  return false;
}

}  // namespace vmigrate

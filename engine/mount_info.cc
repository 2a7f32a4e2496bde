// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/mount_info.h"

#include <algorithm>
#include <charconv>
#include <vector>

namespace vmigrate {
namespace {

/// The kernel writes space, tab, newline and backslash as \040 and so on.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned code = 0;
    const auto digits = text.substr(at + 1, 3);
    if (text[at] == '\\' && digits.size() == 3 &&
        std::from_chars(digits.begin(), digits.end(), code, 8).ptr == digits.end()) {
      plain += static_cast<char>(code);
      at += 3;
    } else {
      plain += text[at];
    }
  }
  return plain;
}

std::vector<std::string_view> split(std::string_view line, char separator) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const auto end = std::min(line.find(separator), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

template <typename Number>
bool parse(std::string_view word, Number& into) {
  const auto result = std::from_chars(word.begin(), word.end(), into);
  return result.ec == std::errc{} && result.ptr == word.end();
}

/// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext4 /dev/root rw": any number of optional fields before the dash.
std::optional<Mount> parse_line(std::string_view line) {
  const auto words = split(line, ' ');
  const auto dash = std::find(words.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(words.size(), 6)),
                              words.end(), "-");
  if (words.end() - dash < 2) return std::nullopt;
  Mount mount;
  const auto numbers = split(words[2], ':');
  if (numbers.size() != 2 || !parse(words[0], mount.id) || !parse(words[1], mount.parent_id) ||
      !parse(numbers[0], mount.major) || !parse(numbers[1], mount.minor))
    return std::nullopt;
  mount.root = unescape(words[3]);
  mount.mount_point = unescape(words[4]);
  mount.file_system = unescape(dash[1]);
  return mount;
}

}  // namespace

std::optional<Mount> topmost_mount_at(std::string_view mountinfo, std::string_view mount_point) {
  std::vector<Mount> candidates;
  for (const auto line : split(mountinfo, '\n')) {
    auto mount = parse_line(line);
    if (mount && mount->mount_point == mount_point) candidates.push_back(std::move(*mount));
  }
  // A mount that covers another has that one as its parent, at the same place.
  for (const auto& mount : candidates) {
    const auto is_child = [&](const Mount& other) { return other.parent_id == mount.id && other.id != mount.id; };
    if (std::none_of(candidates.begin(), candidates.end(), is_child)) return mount;
  }
  return std::nullopt;
}

}  // namespace vmigrate

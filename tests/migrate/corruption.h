// SPDX-License-Identifier: GPL-2.0-or-later
// How much is damaged, and how a file is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

namespace vmigrate::corruption {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr std::uint64_t kSessions = 500;
inline constexpr std::uint64_t kCheckpoints = 1000;
#else
inline constexpr std::uint64_t kSessions = 10'000;
inline constexpr std::uint64_t kCheckpoints = 12'000;
#endif

inline std::string content_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void put(const std::filesystem::path& file, const std::string& content) {
  std::ofstream(file, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

/// Flips a bit, or cuts or adds a few bytes at the end. An empty file only grows.
inline void damage(std::string& content, std::mt19937_64& random) {
  const auto kind = content.empty() ? 2 : random() % 8;
  if (kind == 0) {
    content.resize(random() % content.size());
  } else if (kind <= 2) {
    content.append(1 + random() % 20, static_cast<char>(random()));
  } else {
    char& hit = content[random() % content.size()];
    hit = static_cast<char>(hit ^ (1 << random() % 8));
  }
}
inline void damage_file(const std::filesystem::path& file, std::mt19937_64& random) {
  std::string content = content_of(file);
  damage(content, random);
  put(file, content);
}

}  // namespace vmigrate::corruption

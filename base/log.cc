// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/log.h"

#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <ctime>

namespace vmigrate {
namespace {

LogLevel g_level = LogLevel::info;
constexpr std::array<const char*, 4> kLevelNames = {"debug", "info", "warn", "error"};
constexpr std::size_t kLineBytesMax = 4096;

}  // namespace

void set_log_level(LogLevel level) noexcept { g_level = level; }

void log(LogLevel level, std::string_view text) noexcept {
  if (level < g_level) return;
  timeval now{};
  ::gettimeofday(&now, nullptr);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  std::array<char, kLineBytesMax> line;
  std::size_t length = std::strftime(line.data(), line.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  length += static_cast<std::size_t>(std::snprintf(line.data() + length, line.size() - length, ".%03ldZ %s ",
                                                   static_cast<long>(now.tv_usec / 1000),
                                                   kLevelNames[static_cast<std::size_t>(level)]));
  for (const char c : text) {
    if (length + 1 >= line.size()) break;
    line[length++] = static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  line[length++] = '\n';
  // A failed write of a log line has nowhere to be reported.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), length);
}

}  // namespace vmigrate

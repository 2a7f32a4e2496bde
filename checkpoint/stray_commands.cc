// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/stray_commands.h"

#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text_file.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto kDieTimeout = 5s;
constexpr auto kLookEvery = 20ms;

/// 0 for an entry of /proc that is no process.
pid_t pid_of(const fs::path& entry) {
  const std::string name = entry.filename();
  pid_t pid = 0;
  const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), pid);
  return failure == std::errc() && end == name.data() + name.size() ? pid : 0;
}

bool works_on(const fs::path& process, const fs::path& images) {
  std::error_code gone;
  const fs::path place = fs::read_symlink(process / "cwd", gone);
  if (!gone && place == images) return true;
  // Between the zero bytes that end each argument, so that "ct1-out" is not found in "ct1-out2".
  const std::string wanted = std::string(1, '\0') + images.native() + std::string(1, '\0');
  try {
    return read_text(process / "cmdline").value_or("").find(wanted) != std::string::npos;
  } catch (const Error&) {
    return false;   // any process may make it longer than we read, but none of ours does
  }
}

std::vector<pid_t> commands_on(const fs::path& images) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid = pid_of(entry.path());
    if (pid > 1 && pid != ::getpid() && works_on(entry.path(), images)) found.push_back(pid);
  }
  return found;
}

bool all_gone(const fs::path& images, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!commands_on(images).empty()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kLookEvery);
  }
  return true;
}

}  // namespace

void end_commands_on(const fs::path& images, std::chrono::milliseconds patience) {
  if (all_gone(images, patience)) return;
  for (const pid_t pid : commands_on(images)) {
    log(LogLevel::warn, "event=stray_command pid=" + std::to_string(pid) + " images=" + images.native());
    ::kill(pid, SIGKILL);
  }
  if (!all_gone(images, kDieTimeout))
    throw Error(Errc::timed_out, "commands that a dead agent started still work on " + images.native());
}

}  // namespace vmigrate

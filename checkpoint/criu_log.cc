// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/criu_log.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <vector>

namespace vmigrate {
namespace {

constexpr std::size_t kReasonsMax = 3;
constexpr std::size_t kReasonBytesMax = 300;
constexpr std::streamoff kTailBytes = 256 << 10;

/// Errors that say only that there was one, or that are none: the limit on descriptors needs a capability CRIU can do
/// without.
constexpr std::array<std::string_view, 4> kSaysNothing = {"RLIMIT_NOFILE", "Dumping FAILED", "Restoring FAILED",
                                                          "exited, status="};
struct Remedy {
  std::string_view symptom;
  std::string_view advice;
};
constexpr std::array<Remedy, 8> kRemedies = {{
    {"io_uring",
     "a process of the container uses io_uring, which CRIU cannot write down: switch it off in the program"},
    // The kernel does not let an io_uring be passed to CRIU; nothing else is refused like that.
    {"Can't retrieve FDs from socket",
     "probably a process of the container uses io_uring: switch it off in the program"},
    {"ghost-limit", "an open file that was deleted is larger than 64 MiB"},
    {"Can't dump ghost file", "an open file that was deleted is larger than 64 MiB"},
    {"Can't lookup mount",
     "a file is open from outside the container: start it with its standard streams on /dev/null"},
    {"No space left on device", "the checkpoint is larger than the space set aside for it"},
    {"Cannot allocate memory", "this host is out of memory"},
    {"External socket is used", "a process is connected to a socket outside the container"},
}};

std::string printable(std::string_view text) {
  std::string clean(text.substr(0, kReasonBytesMax));
  std::replace_if(clean.begin(), clean.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return clean;
}

/// "(00.065) Error (criu/net.c:12): net: no" becomes "net: no"; empty if the line is no error worth telling.
std::string error_in(std::string_view line) {
  const auto error = line.find("Error (");
  if (error == std::string_view::npos || error > 24) return {};
  const auto colon = line.find("): ", error);
  if (colon == std::string_view::npos) return {};
  const auto text = line.substr(colon + 3);
  const bool says_nothing = std::any_of(kSaysNothing.begin(), kSaysNothing.end(),
                                        [&](std::string_view s) { return text.find(s) != std::string_view::npos; });
  return says_nothing ? std::string() : printable(text);
}

std::string tail_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  if (!stream) return {};
  const std::streamoff size = stream.tellg();
  stream.seekg(std::max<std::streamoff>(0, size - kTailBytes));
  std::string tail(kTailBytes, '\0');
  stream.read(tail.data(), static_cast<std::streamsize>(tail.size()));
  tail.resize(static_cast<std::size_t>(stream.gcount()));
  return tail;
}

std::string remedy_for(const std::string& reason) {
  for (const auto& [symptom, advice] : kRemedies)
    if (reason.find(symptom) != std::string::npos) return " (" + std::string(advice) + ")";
  return {};
}

/// What stands in msg="…" of a line as runc logs it; any other line as it is.
std::string message_of(std::string_view line) {
  constexpr std::string_view key = "msg=\"";
  const auto at = line.find(key);
  if (at == std::string_view::npos) return std::string(line);
  std::string message;
  for (line.remove_prefix(at + key.size()); !line.empty() && line.front() != '"'; line.remove_prefix(1)) {
    if (line.front() == '\\' && line.size() > 1) line.remove_prefix(1);
    message.push_back(line.front());
  }
  return message;
}

}  // namespace

std::string reason_in_criu_log(std::string_view log) {
  // The last errors are mostly echoes of the one before them, so the reasons are told in order, each once.
  std::vector<std::string> reasons;
  while (!log.empty()) {
    const auto end = std::min(log.find('\n'), log.size());
    auto reason = error_in(log.substr(0, end));
    if (!reason.empty() && std::find(reasons.begin(), reasons.end(), reason) == reasons.end())
      reasons.push_back(std::move(reason));
    log.remove_prefix(std::min(end + 1, log.size()));
  }
  if (reasons.size() > kReasonsMax) reasons.erase(reasons.begin(), reasons.end() - kReasonsMax);
  std::string text;
  for (const auto& reason : reasons) text += (text.empty() ? "" : "; ") + reason;
  return text + remedy_for(text);
}

std::string reason_in_criu_log_file(const std::filesystem::path& file) { return reason_in_criu_log(tail_of(file)); }

std::string last_line_of_file(const std::filesystem::path& file) {
  std::string tail = tail_of(file);
  while (!tail.empty() && tail.back() == '\n') tail.pop_back();
  return printable(message_of(std::string_view(tail).substr(tail.rfind('\n') + 1)));
}

}  // namespace vmigrate

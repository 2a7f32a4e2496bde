// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/unique_fd.h"

namespace vmigrate {
namespace {

constexpr std::size_t kReadBytes = 32768;
constexpr std::size_t kTextBytesMax = std::size_t{16} << 20;

bool says_gone(int error) { return error == ENOENT || error == ENOTDIR || error == ESRCH || error == ENODEV; }

}  // namespace

std::optional<std::string> read_text(const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open() && says_gone(errno)) return std::nullopt;
  check_syscall(fd.get(), "open", file.native());
  std::string text;
  std::array<char, kReadBytes> some;
  for (;;) {
    const ssize_t count = ::read(fd.get(), some.data(), some.size());
    if (count == 0) return text;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && says_gone(errno)) return std::nullopt;
    check_syscall(count, "read", file.native());
    text.append(some.data(), static_cast<std::size_t>(count));
    if (text.size() > kTextBytesMax) throw Error(EFBIG, "read", file.native());
  }
}

}  // namespace vmigrate

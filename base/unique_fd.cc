// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/unique_fd.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"

namespace vmigrate {

void UniqueFd::reset(int fd) noexcept {
  const int old = std::exchange(fd_, fd);
  if (old >= 0 && old != fd) ::close(old);
}

UniqueFd duplicate(int fd, const std::string& object) {
  return UniqueFd(check_syscall(::fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl(F_DUPFD_CLOEXEC)", object));
}

}  // namespace vmigrate

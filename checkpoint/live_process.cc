// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/live_process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/error.h"

namespace vmigrate {

LiveProcess::LiveProcess(pid_t pid) : fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {
  // A number that a thread has now is no process's.
  const bool has_ended = errno == ESRCH || errno == EINVAL || errno == ENOENT;
  if (!fd_.is_open() && !has_ended) throw Error(errno, "pidfd_open", std::to_string(pid));
}

bool LiveProcess::is_alive() const {
  if (!fd_.is_open()) return false;
  pollfd end = {fd_.get(), POLLIN, 0};
  return check_syscall(::poll(&end, 1, 0), "poll", "a pidfd") == 0;
}

}  // namespace vmigrate

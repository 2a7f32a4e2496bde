// SPDX-License-Identifier: GPL-2.0-or-later
// A child that does nothing until it is killed.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

namespace vmigrate {

class SleepingProcess {
 public:
  SleepingProcess() : pid_(check_syscall(::fork(), "fork")) {
    if (pid_ != 0) return;
    for (;;) ::pause();
  }
  SleepingProcess(const SleepingProcess&) = delete;
  SleepingProcess& operator=(const SleepingProcess&) = delete;
  ~SleepingProcess() { end(); }

  pid_t pid() const { return pid_; }
  /// It stays behind as a zombie.
  void kill_only() {
    ::kill(pid_, SIGKILL);
    siginfo_t ignored{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &ignored, WEXITED | WNOWAIT);
  }
  /// Its number may be given to another from now on.
  void end() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// One process, told from a later one that got its number.
#pragma once

#include <sys/types.h>

#include "base/unique_fd.h"

namespace vmigrate {

/// The process that has the number when this is made. It is not held back: it can end, and be waited for.
class LiveProcess {
 public:
  /// Throws Error, but not for a number that nobody has: that process is dead.
  explicit LiveProcess(pid_t pid);

  /// False for ever once it has ended, whoever has its number now.
  bool is_alive() const;

 private:
  UniqueFd fd_;   ///< a pidfd(2)
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/durable.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/unique_fd.h"

namespace vmigrate {

void sync_to_disk(const std::filesystem::path& path) {
  const UniqueFd fd(check_syscall(::open(path.c_str(), O_RDONLY | O_CLOEXEC), "open", path.native()));
  check_syscall(::fsync(fd.get()), "fsync", path.native());
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/cgroup_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text_file.h"
#include "base/unique_fd.h"

namespace vmigrate {

std::string contents_of(const std::filesystem::path& file) { return read_text(file).value_or(""); }

void write_to(const std::filesystem::path& file, std::string_view text) {
  const UniqueFd fd(check_syscall(::open(file.c_str(), O_WRONLY | O_CLOEXEC), "open", file.native()));
  check_syscall(::write(fd.get(), text.data(), text.size()), "write", file.native());
}

}  // namespace vmigrate

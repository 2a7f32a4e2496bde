// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/tracker/libbpf_failure.h"

#include <cstdio>
#include <cstring>
#include <system_error>

#include <bpf/libbpf.h>

#include "base/error.h"

namespace vmigrate {
namespace {

thread_local std::string libbpf_said;

int keep_warning(libbpf_print_level level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof line, format, arguments);
  if (level == LIBBPF_WARN) libbpf_said = std::string(line, std::strcspn(line, "\n"));
  return 0;
}

}  // namespace

void listen_to_libbpf() {
  [[maybe_unused]] static const libbpf_print_fn_t before = libbpf_set_print(keep_warning);   // by one thread
  libbpf_said.clear();
}

void throw_unavailable(const std::string& what, int saved_errno) {
  std::string reason = what + ": " + std::generic_category().message(saved_errno);
  if (!libbpf_said.empty()) reason += " (" + libbpf_said + ")";
  throw Error(Errc::tracker_unavailable, "the kernel's write tracker cannot run: " + reason);
}

}  // namespace vmigrate

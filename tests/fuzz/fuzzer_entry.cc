// SPDX-License-Identifier: GPL-2.0-or-later
// What libFuzzer calls, in a program for one target.
#include <cstdint>

#include "base/log.h"
#include "tests/fuzz/fuzz_targets.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  vmigrate::set_log_level(vmigrate::LogLevel::error);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vmigrate::fuzz::VMIGRATE_FUZZ_TARGET(std::as_bytes(std::span(data, size)));
  return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
// CRIU through `runc checkpoint/restore` and `crun checkpoint/restore`.
#pragma once

#include <chrono>
#include <memory>

#include "checkpoint/checkpointer.h"

namespace vmigrate {

struct CriuLimits {
  std::chrono::milliseconds dump_timeout{60'000};
  std::chrono::milliseconds restore_timeout{60'000};
};
/// `runtime` and `pool` must outlive the result.
std::unique_ptr<Checkpointer> make_criu_checkpointer(asio::thread_pool& pool, ContainerRuntime& runtime,
                                                     CriuLimits limits = {});

}  // namespace vmigrate

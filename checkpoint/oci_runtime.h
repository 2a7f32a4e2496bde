// SPDX-License-Identifier: GPL-2.0-or-later
// runc and crun through one interface: they share their command line.
#pragma once

#include <memory>

#include "checkpoint/container_runtime.h"

namespace vmigrate {

/// `name` is "runc", "crun", or "auto": each is asked in turn which one knows the container.
std::unique_ptr<ContainerRuntime> make_oci_runtime(asio::thread_pool& pool, const std::string& name);

}  // namespace vmigrate

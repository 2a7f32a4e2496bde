// SPDX-License-Identifier: GPL-2.0-or-later
// Which processes were stopped (SIGSTOP, ^Z) when a checkpoint was written, so that a restore leaves just those
// stopped.
#pragma once

#include <sys/types.h>

#include <optional>
#include <set>
#include <span>

#include "checkpoint/image_dir.h"

namespace vmigrate {

/// Their process ids within the container. Throws Error(Errc::restore_failed) for a core image that is not understood.
std::set<pid_t> stopped_tasks(const ImageDir& images);
/// Whether the core image of one process says so; nothing if it is the image of a mere thread.
std::optional<bool> is_stopped_in_core_image(std::span<const std::byte> image);
/// The id of our process `pid` in the PID namespace of the container whose init is `init` for us; 0 if it is gone.
pid_t pid_within_container(pid_t pid, pid_t init);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// What a host says about a migration that none of its sessions waits for.
#pragma once

#include <filesystem>

#include "base/disk.h"
#include "transport/message.h"

namespace vmigrate {

/// From what is recorded, and from nothing else. Without a record the attempt never happened: ABORT. A journal that is
/// damaged, or that somebody is just writing, gives no answer yet: WAIT. So does GIVEN, and PREPARED: only the session
/// that takes it up again may go on from there. Throws Error(Errc::invalid_name) for what is no container's id.
Message answer_from_journal(const std::filesystem::path& journals, const Ask& ask, Disk& disk = real_disk());

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The failpoints around messages, and the list of all that a migration passes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transport/channel.h"

namespace vmigrate {

/// The same channel, with the points "message.<Name>.before_send", ".after_send" and ".before_handle" around each
/// message. Where no failpoint is set it is `wire` itself.
std::unique_ptr<Channel> with_failpoints(std::unique_ptr<Channel> wire);

/// The name of every point: those of messages, and "journal.<type>.before_write", ".before_fsync" and ".after_fsync"
/// for each type of record, in lower case.
std::vector<std::string> failpoint_names();

}  // namespace vmigrate

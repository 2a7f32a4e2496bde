// SPDX-License-Identifier: GPL-2.0-or-later
// Running a command under a CRIU configuration of ours, without touching the host's.
#pragma once

#include <string>
#include <vector>

namespace vmigrate {

/// Where CRIU looks for its configuration. It has to exist, to be mounted over.
inline constexpr const char* kCriuConfigDirectory = "/etc/criu";

/// `argv` in a mount namespace of its own, where CRIU finds just `criu_config` (its options, one per line, without
/// dashes). Mounts that a killed CRIU leaves behind disappear with that namespace.
std::vector<std::string> with_criu_config(const std::string& criu_config, const std::vector<std::string>& argv);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// What an OCI config may ask for when its container is to move. Lists of what is allowed: what is not on them is
// refused.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace vmigrate {

/// Throws Error(Errc::unsupported_container) naming the first thing that cannot be moved or must not be taken from a
/// wire; may throw nlohmann::json::exception when a value has the wrong type.
void apply_config_rules(const nlohmann::json& config);

}  // namespace vmigrate

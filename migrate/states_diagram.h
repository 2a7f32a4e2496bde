// SPDX-License-Identifier: GPL-2.0-or-later
// The two transition tables as a Mermaid picture, for docs/states.md.
#pragma once

#include <string>

namespace vmigrate {

std::string states_diagram();

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/states_diagram.h"

#include "migrate/session_state.h"

namespace vmigrate {
namespace {

template <typename Table>
std::string diagram_of(const char* side, const Table& table) {
  std::string text = std::string("  state ") + side + " {\n";
  for (const auto& row : table)
    text += std::string("    ") + side + "_" + std::string(name_of(row.from)) + " --> " + side + "_" +
            std::string(name_of(row.to)) + " : " + std::string(name_of(row.event)) + "\n";
  return text + "  }\n";
}

}  // namespace

std::string states_diagram() {
  return "stateDiagram-v2\n" + diagram_of("source", kSourceTransitions) +
         diagram_of("destination", kDestinationTransitions);
}

}  // namespace vmigrate

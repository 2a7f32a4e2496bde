// SPDX-License-Identifier: GPL-2.0-or-later
// Where one half of a migration stands, and the only way to move it.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "base/log.h"
#include "migrate/progress.h"
#include "migrate/session_state.h"
#include "transport/message.h"

namespace vmigrate {

/// Moves by the rows of session_state.h and by nothing else; a step that is in no row is a mistake of ours and ends the
/// program. Every step is logged and reported.
template <typename State, typename Event>
class Stage {
 public:
  Stage(State start, std::string_view side, MigrationId id, Progress& progress)
      : state_(start), side_(side), id_(id), progress_(progress) {}

  State state() const { return state_; }

  void enter(Event event) {
    const auto to = next(state_, event);
    MIGRATE_ASSERT(to.has_value());
    log(LogLevel::info, label() + " event=" + std::string(name_of(event)) + " to=" + std::string(name_of(*to)));
    state_ = *to;
    progress_.report({{"event", "state"}, {"side", side_}, {"state", name_of(state_)}});
  }

  /// How this half is named in the log.
  std::string label() const {
    return "session=" + to_hex(id_).substr(0, 8) + " side=" + std::string(side_) +
           " state=" + std::string(name_of(state_));
  }

 private:
  State state_;
  std::string_view side_;
  MigrationId id_;
  Progress& progress_;
};

using SourceStage = Stage<SourceState, SourceEvent>;
using DestinationStage = Stage<DestinationState, DestinationEvent>;

}  // namespace vmigrate

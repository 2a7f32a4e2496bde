// SPDX-License-Identifier: GPL-2.0-or-later
// The source's half of one migration, in the order of the story.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "engine/volume_copier.h"
#include "migrate/cancellation.h"
#include "migrate/departure.h"
#include "migrate/failure.h"
#include "migrate/progress.h"
#include "migrate/remote_block_sink.h"
#include "migrate/report.h"
#include "migrate/session_state.h"
#include "transport/channel.h"

namespace vmigrate {

/// Moves one container over one channel. Every step is allowed by the table in session_state.h or it is a mistake of
/// ours.
class SourceSession {
 public:
  struct Parts {
    Departure& departure;
    Channel& channel;               ///< Hello is behind us
    Clock& clock;
    Progress& progress;
    Cancellation& cancellation;
    MigrationId id;                 ///< random
    std::string host_name;          ///< ours, for the report
    /// Dials the destination's agent again, to Ask. Throws Error when nobody answers.
    std::function<Task<std::unique_ptr<Channel>>(const Answer&)> reconnect;
  };
  explicit SourceSession(Parts parts);

  /// Runs to the end. Does not throw: what failed is in the report. Returns in doubt only when `reconnect` says that
  /// there is nobody to ask, or when the cancellation is requested while in doubt.
  Task<MigrationReport> run();
  SourceState state() const { return state_; }

 private:
  Task<> run_steps();
  Task<> introduce();
  Task<> copy_while_running();
  Task<> copy_round(VolumeCopier& copier, RemoteBlockSink& sink);
  Task<> hand_over();
  Task<> copy_the_rest(VolumeCopier& copier, RemoteBlockSink& sink);
  Task<> verify(RemoteBlockSink& sink);
  Task<> send_checkpoint();
  Task<> commit();
  Task<> follow_answer(const Message& answer);
  Task<> release();
  Task<> reclaim();

  Task<Failure> last_word(const Failure& failure);
  Task<> recover(Failure failure, bool is_peer_lost);
  Task<> roll_back(const Failure& failure, bool is_peer_lost);
  Task<> resolve_doubt();
  Task<> ask_once();
  Task<> tell(const Message& message);

  void enter(SourceEvent event);
  void note_round(RoundStats stats, std::uint64_t wire_bytes_before);
  void remark(const std::string& text);
  void lap(const char* part);
  void check_freeze_budget();
  void check_comparison_fits() const;
  Duration freeze_budget_left() const;

  Parts parts_;
  SourceState state_ = SourceState::connecting;
  Answer answer_;
  ArmedTracker armed_;
  std::unique_ptr<RemoteBlockSink> sink_;
  std::unique_ptr<VolumeCopier> copier_;
  ConvergencePolicy policy_;
  MigrationReport report_;
  TimePoint started_{};
  TimePoint frozen_since_{};
};

}  // namespace vmigrate

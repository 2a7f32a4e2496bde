// SPDX-License-Identifier: GPL-2.0-or-later
// The source's half of one migration, in the order of the story.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "engine/volume_copier.h"
#include "migrate/cancellation.h"
#include "migrate/departure.h"
#include "migrate/failure.h"
#include "migrate/precedence.h"
#include "migrate/progress.h"
#include "migrate/rate_board.h"
#include "migrate/remote_barrier.h"
#include "migrate/report.h"
#include "migrate/source_settlement.h"
#include "transport/channel.h"

namespace vmigrate {

/// Moves one container over one channel, with more of them for its blocks. Every step is allowed by the table in
/// session_state.h or it is a mistake of ours.
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
    Switchboard& switchboard;
    std::string dialled;            ///< the destination's agent, if we dialled it; else it says where it is
    /// Dials the agent at an address, Hello included. Throws Error when nobody answers, or when it is empty.
    std::function<Task<std::unique_ptr<Channel>>(std::string)> dial;
    DataLane::Executor instead_of_threads = {};   ///< for the connections for blocks; simulations only
    /// Among the sessions of this host, and it begins. Without one there are no others.
    std::unique_ptr<Precedence::Place> place = std::make_unique<Precedence::Place>(nullptr);
    RateBoard* rate_board = nullptr;    ///< none: its rates stay as they are
  };
  explicit SourceSession(Parts parts);

  /// Runs to the end. Does not throw: what failed is in the report. Returns in doubt only when this process
  /// is to end.
  Task<MigrationReport> run();
  SourceState state() const { return stage_.state(); }

 private:
  Task<> run_steps();
  Task<> introduce();
  Task<> open_lanes(std::uint32_t count, Switchboard::Desk* desk);
  Task<> copy_in_time();
  Task<> copy_until_closed(std::exception_ptr& thrown);
  Task<> act_when_time_is_over();
  Task<> come_to_the_freeze();
  Task<> hear_base();
  Task<> copy_while_running();
  Task<> copy_round(VolumeCopier& copier, RemoteBarrier& barrier);
  void watch_cpu();
  void throttle(const Decision& decision);
  Task<bool> must_wait_for_turn();
  Rates change_rates(const RateChange& change);
  Task<> hand_over_in_time();
  Task<> hand_over_until_closed(std::exception_ptr& thrown);
  Task<> close_when_budget_is_spent();
  Task<> hand_over();
  Task<> copy_the_rest(VolumeCopier& copier, RemoteBarrier& barrier);
  Task<> verify(RemoteBarrier& barrier);
  Task<> send_checkpoint();
  Task<> commit();
  Task<Failure> last_word(const Failure& failure);
  Task<> recover(Failure failure, bool is_peer_lost);
  Task<std::string> roll_back();
  Task<> tell_aborted(const Failure& failure);
  Task<bool> is_refused(bool is_peer_lost);
  Task<bool> hears_refusal();
  Task<> tell(const Message& message);

  void hang_up() noexcept;
  void end_lanes();
  std::uint64_t wire_bytes() const;
  void note_waybill(std::optional<CpuLimit> cpu_limit);
  void note_round(RoundStats stats, std::uint64_t wire_bytes_before);
  void note_remark(const std::string& text);
  void remark(const std::string& text);
  void lap(const char* part);
  Decision decide() const;
  Failure really(const Failure& failure) const;
  const MigrationOptions& options() const { return parts_.departure.offer().options; }
  void check_freeze_budget();
  void check_comparison_fits() const;
  Duration freeze_budget_left() const;

  Parts parts_;
  ArmedTracker armed_;
  std::optional<CpuLimit> cpu_limit_;      ///< until it is noted
  unsigned throttle_percent_ = 0;
  Precedence::Place& place_;
  Rates rates_;
  RateBoard::Knob knob_;
  int turn_waits_ = 0;
  std::optional<Message> heard_;           ///< while the connections for blocks joined
  std::optional<Pacer> pacer_;
  std::unique_ptr<OutgoingLanes> lanes_;   ///< once they have joined, until the last block has arrived
  std::uint64_t lanes_wire_bytes_ = 0;     ///< of those that have ended
  std::unique_ptr<RemoteBarrier> barrier_;
  std::unique_ptr<VolumeCopier> copier_;
  ConvergencePolicy policy_;
  MigrationReport report_;
  std::string agent_;
  SourceStage stage_;
  SourceSettlement settlement_;
  TimePoint started_{};
  TimePoint frozen_since_{};
  bool has_refused_ = false;   ///< it was the destination that ended it
  bool is_time_over_ = false;       ///< --timeout
  bool is_cut_by_timeout_ = false;
};

}  // namespace vmigrate

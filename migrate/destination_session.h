// SPDX-License-Identifier: GPL-2.0-or-later
// The destination's half of one migration, in the order of the story.
#pragma once

#include <memory>

#include "base/clock.h"
#include "migrate/arrival.h"
#include "migrate/failure.h"
#include "migrate/incoming_lanes.h"
#include "migrate/progress.h"
#include "migrate/report.h"
#include "migrate/destination_settlement.h"
#include "transport/channel.h"

namespace vmigrate {

/// How one arrival ended, as this side knows it.
struct ArrivalOutcome {
  DestinationState state = DestinationState::checking;
  std::optional<Failure> failure;
  Offer offer;
};

class DestinationSession {
 public:
  struct Parts {
    ArrivalHost& host;
    Channel& channel;          ///< Hello is behind us
    Clock& clock;
    asio::thread_pool& pool;
    Progress& progress;
    Cancellation& cancellation;
    Switchboard& switchboard;
    std::string agent_address; ///< where Ask reaches this host's agent; empty if it has none
    std::string dialled;       ///< the source's agent, if we dialled it; else its offer says where it is
    /// Dials the agent at an address, Hello included. Throws Error when nobody answers, or when it is empty.
    std::function<Task<std::unique_ptr<Channel>>(std::string)> dial;
    DataLane::Executor instead_of_threads = {};   ///< for the connections for blocks; simulations only
  };
  explicit DestinationSession(Parts parts) : parts_(std::move(parts)) {}

  /// Runs to the end. Does not throw: what failed is in the outcome.
  Task<ArrivalOutcome> run(Open open);

 private:
  Task<> run_steps(const Open& open);
  Task<> judge(const Open& open);
  Task<> make_room();
  Task<> answer_link_probes();
  Task<> open_lanes();
  Task<> tell_base();
  Task<> receive_everything();
  Task<Message> next_message();
  Task<bool> take(const Message& message);
  Task<> end_round(const RoundEnd& end);
  bool is_last_round(const RoundEnd& end) const;
  Task<> end_lanes();
  Task<> restore();
  void record_prepared();
  void record(RecordType type);
  Task<> take_over();
  Task<> recover(Failure failure, bool has_hung_up);
  Leftovers leftovers_after(Errc code, bool has_hung_up) const;
  Task<> discard(Leftovers leftovers);
  Task<> tell(const Message& message);

  Parts parts_;
  std::optional<DestinationStage> stage_;
  std::string agent_;
  MigrationId id_;
  ArrivalOutcome outcome_;
  std::unique_ptr<Arrival> arrival_;
  std::unique_ptr<BlockSource> base_;        ///< until it was told
  std::optional<Switchboard::Desk> desk_;    ///< until the connections for blocks have joined
  std::optional<Message> heard_;             ///< over the first connection meanwhile
  std::unique_ptr<IncomingLanes> lanes_;     ///< from when they have joined to the end of the last round
  std::uint32_t streams_ = 0;                ///< granted
  bool has_final_round_ = false;
  bool is_undecided_ = false;   ///< a record failed: the next look at the waybill decides
};

}  // namespace vmigrate

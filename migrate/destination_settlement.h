// SPDX-License-Identifier: GPL-2.0-or-later
// The destination's half from PREPARED to the end: the part that outlives connections and agents.
#pragma once

#include "migrate/arrival.h"
#include "migrate/cancellation.h"
#include "migrate/source_settlement.h"

namespace vmigrate {

/// Holds a restored container until the source's word comes: GO, and it runs here; ABORT, and it never will. If the
/// source does not speak it is asked until it does, and it may call by itself. There is no timeout: nobody but the
/// source knows whether it gave the container away.
class DestinationSettlement {
 public:
  struct Parts {
    Arrival& arrival;
    DestinationStage& stage;
    Clock& clock;
    Cancellation& cancellation;   ///< requested while prepared: it is refused
    Switchboard& switchboard;
    MigrationId id;
    std::string container;
    std::uint64_t epoch = 0;      ///< the one to own
    Bits128 root;                 ///< digest of our volume, as recorded in PREPARED
    std::string peer;             ///< the source, for people and the journal
    Dial dial;
    Leftovers leftovers = Leftovers::base;   ///< should it be refused
  };
  explicit DestinationSettlement(Parts parts) : parts_(std::move(parts)) {}

  /// PREPARED is recorded: says READY and goes on to the end. Nothing is thrown; `failure()` says what was amiss.
  Task<> take_over(Channel& channel);
  /// After a crash: goes on from prepared or owning to the end. Nothing is thrown.
  Task<> go_on();
  const std::optional<Failure>& failure() const { return failure_; }

 private:
  Task<> ask_until_told(Switchboard::Line& line);
  Task<> talk(std::unique_ptr<Channel> call, Switchboard::Line& line);
  Task<Message> say_ready(Channel& channel);
  Task<> follow(const Message& word, Channel& channel, Switchboard::Line& line);
  Task<> run_until_it_does();
  Task<> announce();
  Task<> tell_running(Channel& channel, Switchboard::Line& line);
  Task<> answer_calls(Switchboard::Line& line);
  void end_recorded(Switchboard::Line& line);
  Task<bool> hear_done(Channel& channel);
  Task<> note_failure(std::exception_ptr thrown);
  Task<> refuse_as_cancelled();
  Task<> refuse(DestinationEvent event);
  Task<> refuse_what_is_gone(Channel& channel);
  Task<> tell_refused(Channel& channel);
  bool record(RecordType type);
  bool is_waiting() const;

  Parts parts_;
  std::optional<Failure> failure_;
  bool is_undecided_ = false;   ///< a record failed, and only a restart can tell what is on the disk
};

}  // namespace vmigrate

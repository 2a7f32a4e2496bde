// SPDX-License-Identifier: GPL-2.0-or-later
// The source's half from the gift to the end: the part that outlives connections and agents.
#pragma once

#include <functional>
#include <memory>

#include "migrate/cancellation.h"
#include "migrate/departure.h"
#include "migrate/report.h"
#include "migrate/stage.h"
#include "migrate/switchboard.h"

namespace vmigrate {

/// Dials the other side's agent, Hello included. Throws Error when nobody answers, or when it has no agent.
using Dial = std::function<Task<std::unique_ptr<Channel>>()>;

/// Gives the container away, and then follows the destination's recorded word only. There is no timeout: if the
/// destination does not answer it is asked until it does, and it may call by itself.
class SourceSettlement {
 public:
  struct Parts {
    Departure& departure;
    SourceStage& stage;
    MigrationReport& report;
    Progress& progress;
    Clock& clock;
    Cancellation& cancellation;
    Switchboard& switchboard;
    MigrationId id;
    std::string peer;        ///< the destination, for people and the journal
    Dial dial;
    std::function<void()> before_release;   ///< lets go of what our copy is held by; may be empty
  };
  explicit SourceSettlement(Parts parts) : parts_(std::move(parts)) {}

  /// READY came and everything was checked: records GIVEN, says GO, and goes on to the end. What fails is in the
  /// report; nothing is thrown.
  Task<> give(Channel& channel);
  /// After a crash: goes on from in_doubt, releasing or reclaiming to the end. Nothing is thrown.
  Task<> go_on();
  /// The attempt is over and the container runs here, but the destination may hold it prepared: tries to tell it for as
  /// long as `patience` lasts. It may also ask. True once it knows. Nothing is thrown.
  Task<bool> tell_aborted(Duration patience);

 private:
  bool record_given();
  Task<> hear_answer_to_go(Channel& channel);
  Task<> ask_until_answered(Switchboard::Line& line);
  Task<> talk(std::unique_ptr<Channel> call);
  Task<Message> converse(Channel& channel, bool was_called);
  Message our_word() const;
  Task<> follow(const Message& answer, Channel& channel);
  Task<> release();
  Task<> reclaim();
  bool record_reclaimed();
  void record(RecordType type, std::uint64_t epoch);
  bool is_waiting() const;
  void note_failure(const Failure& failure);
  void report_doubt(const std::string& reason);
  Task<bool> say_aborted(std::unique_ptr<Channel> call);

  Parts parts_;
};

}  // namespace vmigrate

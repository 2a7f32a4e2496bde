// SPDX-License-Identifier: GPL-2.0-or-later
// All steps out of one world, collected by who takes them.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "tests/model/rules.h"

namespace vmigrate::model {

/// Lives for one call of successors_of().
class Expansion {
 public:
  Expansion(const World& world, const Rules& rules, Coverage& coverage, std::vector<Successor>& successors)
      : world_(world), rules_(rules), coverage_(coverage), successors_(successors) {}

  void all_steps();

 private:
  // source_steps.cc
  void source_steps(int host);
  void start_attempt(int host);
  void release(int host);
  void reclaim(int host);
  bool source_would_send(Message message, int attempt) const;
  void source_receives(Message message, int attempt);

  // destination_steps.cc
  void destination_steps(int host);
  void decide_prepared(int host);
  void tidy_up(int host);
  bool destination_would_send(Message message, int attempt) const;
  void destination_receives(Message message, int attempt);
  bool has_room_for(int attempt) const;
  void refuse(int host, DestinationEvent event, const Step& step);

  // message_steps.cc
  void message_steps(int attempt);
  bool would_send(Message message, int attempt) const;
  Step arrival_of(Message message, int attempt) const;
  bool is_asked_for(Message message, int attempt) const;

  // journal_steps.cc
  void journal_steps(int host);
  void after_sync(int host);
  void after_failed_sync(World& after, int host);
  void crash_steps(int host);
  void crash(const Step& step, int host, Tail tail_if_found, bool loses_memory);

  // operator_steps.cc
  void operator_steps(int host);
  void fence(int host, std::string_view verb, bool loses_memory);
  bool may_take_back(int host) const;
  bool may_accept(int host) const;

  const Host& host(int number) const { return world_.hosts[number]; }
  int attempt_of(int number) const { return host(number).attempt; }

  /// A step of the host's session.
  Step step(int number, std::string_view verb, std::string_view object = {}) const {
    return {number, attempt_of(number), verb, object, Kind::assured};
  }
  Step fault(int number, std::string_view verb, std::string_view object = {}) const {
    return {number, attempt_of(number), verb, object, Kind::fault};
  }
  Step choice(int number, std::string_view verb) const { return {number, attempt_of(number), verb, {}, Kind::choice}; }
  template <typename Change>
  void add(const Step& step, Change change) {
    change(successors_.emplace_back(Successor{step, world_}).world);
  }
  template <typename Event>
  void add_events(int number, std::initializer_list<Event> events) {
    for (const Event event : events) {
      Step meeting = step(number, "meets", name_of(event));
      if (event == Event::failed) meeting.kind = Kind::fault;
      add(meeting, [&](World& after) { enter(after, number, event); });
    }
  }

  /// The only places where a session's state changes, crashes apart.
  void enter(World& after, int number, SourceEvent event);
  void enter(World& after, int number, DestinationEvent event);

  void write(World& after, int number, RecordType type) const {
    after.record(number, after.hosts[number].attempt) = static_cast<std::uint8_t>(type);
    after.hosts[number].tail = Tail::written;
  }
  /// It writes at once: every other copy is of an older generation from now on.
  static void run(World& after, int number);

  const World& world_;
  const Rules& rules_;
  Coverage& coverage_;
  std::vector<Successor>& successors_;
};

}  // namespace vmigrate::model

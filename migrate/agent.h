// SPDX-License-Identifier: GPL-2.0-or-later
// `vmigrate serve`: one host's agent.
#pragma once

#include <optional>
#include <set>

#include "migrate/failure.h"
#include "migrate/lobby.h"
#include "migrate/local_arrival.h"
#include "migrate/recovery.h"
#include "migrate/rules.h"
#include "migrate/session_start.h"

namespace vmigrate {

/// Answers those to whom its rules allow it: operators who start sessions, sources that push, destinations that pull,
/// agents that ask. Lives on one executor.
class Agent {
 public:
  static constexpr std::size_t kSessionsMax = 64;   ///< some 24 MiB each at most

  /// `rules` must outlive the agent.
  Agent(SessionHost host, const RulesFile& rules, LobbyLimits limits = {});
  Agent(const Agent&) = delete;

  /// Accepts until the listener is closed.
  Task<> serve(Listener& listener);
  /// Ends what died with an earlier agent or command on this host, now and whenever such a thing is found. Returns once
  /// this agent is told to end.
  Task<> recover();
  /// Cancels every session that still can be; those after the hand-over go on to their end.
  void cancel_all() noexcept;
  bool is_idle() const { return sessions_.empty() && recovery_.is_idle(); }

 private:
  /// A session in the set of sessions, for as long as it lives.
  class Live;

  Task<> look_for_what_is_left();
  static Task<> converse(Agent& self, std::unique_ptr<Channel> channel);
  Task<> answer(std::unique_ptr<Channel> channel);
  Task<> answer_join(std::unique_ptr<Channel> channel, Join join);
  Task<> answer_ask(std::unique_ptr<Channel> channel, Ask ask);
  Task<> answer_tune(Channel& channel, Tune tune);
  Task<> answer_list(Channel& channel, List list, Cancellation& cancellation);
  /// What the peer wants. Throws Error when it does not say so in time, or had to make room for others.
  Task<Message> greet(Channel& channel);
  /// Why `first` is refused, or nothing.
  std::optional<Failure> judge(const Message& first, const Channel& channel) const;
  Task<> answer_start(std::unique_ptr<Channel> channel, Start start);

  SessionHost host_;
  const RulesFile& rules_;
  Lobby lobby_;
  std::set<Cancellation*> sessions_;
  Cancellation end_;   ///< of this agent
  LocalArrivalHost arrivals_;
  NoProgress nobody_;
  Recovery recovery_;
};

}  // namespace vmigrate

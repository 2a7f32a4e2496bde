// SPDX-License-Identifier: GPL-2.0-or-later
// Three ways to start the same session: only who dials differs.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/clock.h"
#include "migrate/cancellation.h"
#include "migrate/local_departure.h"
#include "migrate/precedence.h"
#include "migrate/progress.h"
#include "migrate/rate_board.h"
#include "migrate/recovery.h"
#include "migrate/rules.h"
#include "migrate/switchboard.h"
#include "transport/endpoint.h"

namespace vmigrate {

/// One host as its sessions see it: an agent, or the command acting for `localhost`. Must outlive them.
struct SessionHost {
  LocalHost local;
  const TlsContext& tls;
  Clock& clock;
  std::string name;            ///< for people
  std::string agent_address;   ///< where our agent listens; empty if there is none
  Switchboard& switchboard;
  const RulesFile* rules = nullptr;   ///< what an agent may do for others; null where a user acts for himself
  Precedence* precedence = nullptr;   ///< among those that leave this host; null: there is never more than one
  RateBoard* rate_board = nullptr;    ///< of those that leave this host; null: nobody changes their rates
};

/// What ends the unfinished migrations of this host. All that is given must outlive it.
Recovery::Parts recovery_parts(const SessionHost& host, ArrivalHost& arrivals, Progress& progress,
                               Cancellation& cancellation);

struct Conversation {
  std::unique_ptr<Channel> channel;
  Hello peer;
};

/// Connects and exchanges Hello. Throws Error; usage when the peer is this very host.
Task<Conversation> dial(const SessionHost& host, Endpoint endpoint);
/// Exchanges Hello on an accepted or fresh connection. Throws Error(Errc::version_mismatch).
Task<Hello> exchange_hello(const SessionHost& host, Channel& channel);

/// Push, or the dry run of it: we are the source and dial request.peer. Returns the report; never throws.
Task<nlohmann::json> push(const SessionHost& host, Request request, Progress& progress, Cancellation& cancellation);
/// Pull: we are the destination and dial request.peer. Returns the report; never throws.
Task<nlohmann::json> pull(const SessionHost& host, Request request, Progress& progress, Cancellation& cancellation);
/// The source's side of pull: the destination has dialled us.
Task<> answer_pull(const SessionHost& host, Channel& channel, Pull pull, Cancellation& cancellation);
/// The destination's side of push: the source has dialled us.
Task<> answer_open(const SessionHost& host, Channel& channel, Open open, Cancellation& cancellation);

}  // namespace vmigrate

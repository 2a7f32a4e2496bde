// SPDX-License-Identifier: GPL-2.0-or-later
// The commands about who may run a container: status, may-run, purge, journal, recover, resolve.
#include <algorithm>
#include <ctime>
#include <iostream>

#include <boost/asio/detached.hpp>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "migrate/commands.h"
#include "migrate/exit_code.h"
#include "migrate/host_parts.h"
#include "migrate/local_arrival.h"
#include "migrate/recovery.h"
#include "migrate/standing.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kAskTimeout = 10s;

Task<std::string> ask_peer(const SessionHost& host, const Waybill& waybill) {
  if (waybill.peer_agent.empty()) co_return "nothing: it has no agent";
  try {
    const Endpoint endpoint = parse_endpoint(waybill.peer_agent);
    const Conversation conversation = co_await dial(host, endpoint);
    conversation.channel->set_idle_timeout(kAskTimeout);
    const Message ask = Ask{waybill.migration, waybill.offer.container};
    co_await conversation.channel->send(ask);
    const Message answer = co_await conversation.channel->receive();
    co_return in_words(answer);
  } catch (const Error& failure) {
    co_return "nothing: " + std::string(failure.what());
  }
}

/// In place, for every migration that is not at its end.
Task<bool> ask_peers(const SessionHost& host, std::vector<Standing>& standings) {
  for (Standing& standing : standings)
    if (standing.waybill) standing.peer_says = co_await ask_peer(host, *standing.waybill);
  co_return true;
}

std::vector<Standing> standings_of(const StateDir& state, const std::string& container) {
  std::vector<Standing> standings = read_standings(state);
  if (container.empty()) return standings;
  std::erase_if(standings, [&](const Standing& standing) { return standing.container != container; });
  if (standings.empty())
    throw Error(Errc::unknown_container, "no migration of container " + container + " is on record on " + host_name());
  return standings;
}

int exit_code_of(const std::vector<Standing>& standings) {
  return std::ranges::any_of(standings, is_in_doubt) ? kExitInDoubt : kExitDone;
}

Task<bool> recover_until(Recovery& recovery, Cancellation& cancellation, Clock& clock, std::chrono::seconds timeout) {
  const auto executor = co_await asio::this_coro::executor;
  for (Waybill& waybill : recovery.unattended())
    asio::co_spawn(executor, recovery.end(std::move(waybill)), asio::detached);
  const TimePoint deadline = clock.now() + timeout;
  while (!recovery.is_idle() && clock.now() < deadline) co_await clock.sleep_for(20ms);
  cancellation.shut_down();
  while (!recovery.is_idle()) co_await clock.sleep_for(20ms);
  co_return true;
}

Waybill waybill_of(const StateDir& state, const std::string& container) {
  for (Waybill& waybill : state.waybills().list())
    if (waybill.offer.container == container) return std::move(waybill);
  throw Error(Errc::unknown_container, "no unfinished migration of container " + container + " is on record on " +
                                           host_name() + "; `vmigrate status` shows what is");
}

KeptCopy kept_copy(const KeptCopies& copies, const std::string& container, const std::string& migration) {
  for (KeptCopy& copy : copies.list())
    if (copy.container == container && to_hex(copy.migration) == migration) return std::move(copy);
  throw Error(Errc::unknown_container, host_name() + " keeps no copy of container " + container + " from migration " +
                                           migration + "; `vmigrate status " + container + "` lists them");
}

std::optional<Record> newest_in(const std::filesystem::path& journal, MigrationId migration) {
  std::optional<Record> newest;
  if (journal.empty()) return newest;
  for (const Record& record : read_journal(journal))
    if (record.migration == migration) newest = record;
  return newest;
}

void require_side(const Waybill& waybill, Side side, const char* flag) {
  if (waybill.side != side)
    throw Error(Errc::usage, std::string(flag) + " is for the " + (side == Side::source ? "source" : "destination") +
                                 " of the migration, and " + host_name() + " is the other side");
}

Task<bool> resolve(const SessionHost& host, const ResolveCommand& command, const Waybill& waybill) {
  const auto peer = newest_in(command.peer_journal, waybill.migration);
  if (command.word == HumanWord::take_back) {
    require_side(waybill, Side::source, "--take-back");
    const auto departure = co_await adopt_departure(host.local, waybill);
    co_await take_back(*departure, waybill, peer);
    co_return true;
  }
  require_side(waybill, Side::destination, "this decision");
  LocalArrivalHost arrivals(host.local);
  const auto arrival = co_await arrivals.adopt(waybill);
  if (command.word == HumanWord::accept) co_await accept(*arrival, waybill, peer);
  else co_await discard_mine(*arrival, waybill);
  co_return true;
}

}  // namespace

int run(const StatusCommand& command) {
  HostParts parts(command.host, "");
  Loop loop(parts.pool);
  std::vector<Standing> standings = standings_of(parts.state, command.container);
  run_to_end(loop.context, ask_peers(parts.host, standings));
  if (command.is_json) {
    nlohmann::json list = nlohmann::json::array();
    for (const Standing& standing : standings) list.push_back(to_json(standing));
    std::cout << list.dump() << std::endl;
  } else {
    for (const Standing& standing : standings) std::cout << to_text(standing);
  }
  return exit_code_of(standings);
}

int run(const MayRunCommand& command) {
  check_container_id(command.container);
  check_may_run(read_standing(StateDir(command.host.state_dir), command.container));
  return kExitDone;
}

int run(const PurgeCommand& command) {
  const KeptCopies copies = StateDir(command.host.state_dir).kept_copies();
  std::vector<KeptCopy> gone;
  if (command.container.empty()) {
    gone = remove_expired(copies, static_cast<std::uint64_t>(std::time(nullptr)));
  } else {
    gone.push_back(kept_copy(copies, command.container, command.migration));
    copies.remove(gone.front());
  }
  for (const KeptCopy& copy : gone) std::cout << copy.container << ": removed " << to_text(copy) << '\n';
  return kExitDone;
}

int run(const RecoverCommand& command) {
  HostParts parts(command.host, "");
  Cancellation cancellation;
  LocalArrivalHost arrivals(parts.host.local);
  NoProgress nobody;
  Recovery recovery(recovery_parts(parts.host, arrivals, nobody, cancellation));
  Loop loop(parts.pool);
  run_to_end(loop.context, recover_until(recovery, cancellation, parts.clock, command.timeout));
  const std::vector<Standing> standings = read_standings(parts.state);
  for (const Standing& standing : standings)
    if (standing.waybill || is_in_doubt(standing)) std::cout << to_text(standing);
  return exit_code_of(standings);
}

int run(const JournalCommand& command) {
  const std::vector<Record> records = read_journal(command.file);
  if (command.is_shown)
    for (const Record& record : records) std::cout << to_text(record) << '\n';
  else
    std::cout << command.file.native() << ": " << records.size() << (records.size() == 1 ? " record" : " records")
              << ", every one as it was written\n";
  return kExitDone;
}

int run(const ResolveCommand& command) {
  HostParts parts(command.host, "");
  Loop loop(parts.pool);
  const Waybill waybill = waybill_of(parts.state, command.container);
  run_to_end(loop.context, resolve(parts.host, command, waybill));
  for (const Standing& standing : standings_of(parts.state, command.container)) std::cout << to_text(standing);
  return kExitDone;
}

}  // namespace vmigrate

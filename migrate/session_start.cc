// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/session_start.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "migrate/destination_session.h"
#include "migrate/dry_run.h"
#include "migrate/event_channel.h"
#include "migrate/failpoint_channel.h"
#include "migrate/local_arrival.h"
#include "migrate/source_session.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto kHelloTimeout = 10s;
constexpr auto kIdleTimeout = 30s;
// A destination that pulls waits while the source looks at the container and trims it.
constexpr auto kOpenTimeout = 120s;

/// The report of a session that never began, or whose other side holds the full one.
json short_report(const Request& request, const std::string& source, const std::string& destination,
                  const Failure& failure) {
  return to_json(MigrationReport{.outcome = Outcome::aborted,
                                 .failure = failure,
                                 .container = request.container,
                                 .source = source,
                                 .destination = destination});
}

/// Runs `steps`; what it throws becomes the report.
template <typename Steps>
Task<json> reported(Steps steps, Request request, std::string source, std::string destination) {
  std::exception_ptr thrown;
  json report;
  try {
    report = co_await steps();
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) report = short_report(request, source, destination, failure_of(thrown, Errc::internal));
  co_return report;
}

Task<std::unique_ptr<Channel>> reconnect(const SessionHost& host, std::string agent) {
  if (agent.empty())
    throw Error(Errc::connect_failed, "the other host has no agent to ask; if its command died, run `vmigrate recover` "
                                      "there");
  const Endpoint endpoint = parse_endpoint(agent);
  Conversation conversation = co_await dial(host, endpoint);
  co_return std::move(conversation.channel);
}

/// A container that is to leave, and its place among those that do.
struct Leaver {
  std::unique_ptr<Departure> departure;
  std::unique_ptr<Precedence::Place> place;
};

SourceSession::Parts source_parts(const SessionHost& host, const std::string& dialled, Leaver& leaver,
                                  Channel& channel, Progress& progress, Cancellation& cancellation) {
  SourceSession::Parts parts{*leaver.departure, channel, host.clock, progress, cancellation, random_id(), host.name,
                             host.switchboard, dialled,
                             [&host](std::string agent) { return reconnect(host, std::move(agent)); }};
  parts.place = std::move(leaver.place);
  parts.rate_board = host.rate_board;
  return parts;
}

/// The source's part over a channel that is open, however it came about.
Task<json> send_container(const SessionHost& host, const std::string& dialled, Leaver& leaver, Channel& channel,
                          Progress& progress, Cancellation& cancellation) {
  if (leaver.departure->offer().is_dry_run) {
    leaver.place->leave();
    const DryRunParts parts{*leaver.departure, channel, host.clock, progress, cancellation, random_id(), host.name};
    co_return co_await run_dry_run(parts);
  }
  SourceSession session(source_parts(host, dialled, leaver, channel, progress, cancellation));
  const MigrationReport report = co_await session.run();
  co_return to_json(report);
}

/// Whoever started it may do that; whether with this other host is another question.
void require_right(const SessionHost& host, const Channel& other, Action action, const Request& request) {
  if (host.rules == nullptr) return;
  const Deed deed{action, request.container, request.is_dry_run};
  host.rules->require(other.certified_names(), deed);
}

Task<Leaver> look_at_container(const SessionHost& host, const Request& request, const Cancellation& cancellation) {
  Leaver leaver;
  leaver.place = std::make_unique<Precedence::Place>(host.precedence);
  co_await leaver.place->begin(host.clock, cancellation);
  cancellation.check();
  leaver.departure = co_await find_departure(host.local, request, host.agent_address);
  co_return leaver;
}

Task<json> push_steps(const SessionHost& host, const Request& request, Progress& progress, Cancellation& cancellation) {
  const Endpoint endpoint = parse_endpoint(request.peer);
  Leaver leaver = co_await look_at_container(host, request, cancellation);
  cancellation.check();
  const Conversation conversation = co_await dial(host, endpoint);
  require_right(host, *conversation.channel, Action::send, request);
  co_return co_await send_container(host, request.peer, leaver, *conversation.channel, progress, cancellation);
}

DestinationSession::Parts destination_parts(const SessionHost& host, const std::string& dialled, ArrivalHost& arrivals,
                                            Channel& channel, Progress& progress, Cancellation& cancellation) {
  return {arrivals,         channel,         host.clock,         host.local.pool,
          progress,         cancellation,    host.switchboard,   host.agent_address,
          dialled,          [&host](std::string agent) { return reconnect(host, std::move(agent)); }};
}

/// What the destination knows when the source's report did not arrive.
json report_of(const ArrivalOutcome& outcome, const Request& request, const SessionHost& host) {
  json report =
      short_report(request, request.peer, host.name,
                   outcome.failure.value_or(Failure{Errc::connection_lost, "the source's report did not arrive"}));
  if (outcome.state == DestinationState::prepared || outcome.state == DestinationState::owning)
    report["result"] = name_of(Outcome::in_doubt);
  if (outcome.state == DestinationState::done) {
    report["result"] = name_of(Outcome::cleanup_pending);
    report["error"]["message"] = "the container runs on " + host.name + ", but the source's report did not arrive";
  }
  return report;
}

Task<json> pull_steps(const SessionHost& host, const Request& request, Progress& progress, Cancellation& cancellation) {
  const Endpoint endpoint = parse_endpoint(request.peer);
  const Conversation conversation = co_await dial(host, endpoint);
  require_right(host, *conversation.channel, Action::receive, request);
  ForwardingChannel channel(*conversation.channel, progress);
  Request for_source = request;
  for_source.peer = host.agent_address;
  const Message ask = Pull{to_json(for_source)};
  co_await channel.send(ask);
  channel.set_idle_timeout(kOpenTimeout);
  Open open = co_await expect<Open>(channel);
  if (offer_from_json(open.offer).container != request.container)
    throw Error(Errc::protocol_violation, channel.peer_name() + " offers another container than " + request.container);
  LocalArrivalHost arrivals(host.local);
  NoProgress quiet;   // the source's events tell the story
  DestinationSession session(destination_parts(host, request.peer, arrivals, channel, quiet, cancellation));
  const ArrivalOutcome outcome = co_await session.run(std::move(open));
  channel.set_idle_timeout(kIdleTimeout);
  try {
    while (channel.report().is_null()) co_await channel.receive();
  } catch (const Error& error) {
    log(LogLevel::info, std::string("event=report_untold reason=") + error.what());
  }
  co_return channel.report().is_null() ? report_of(outcome, request, host) : channel.report();
}

}  // namespace

Recovery::Parts recovery_parts(const SessionHost& host, ArrivalHost& arrivals, Progress& progress,
                               Cancellation& cancellation) {
  return {host.local.state.waybills(),
          host.local.state.journals(),
          real_disk(),
          [&host](const Waybill& waybill) { return adopt_departure(host.local, waybill); },
          arrivals,
          [&host](std::string agent) { return reconnect(host, std::move(agent)); },
          host.clock,
          progress,
          cancellation,
          host.switchboard};
}

Task<Hello> exchange_hello(const SessionHost& host, Channel& channel) {
  channel.set_idle_timeout(kHelloTimeout);
  channel.set_payload_limit(kGreetingBytesMax);
  const Message ours =
      Hello{.host_id = host.local.state.host_id(), .host_name = host.name, .software = "vmigrate " VMIGRATE_VERSION};
  co_await channel.send(ours);
  Hello theirs = co_await expect<Hello>(channel);
  if (theirs.version_min > kProtocolVersionMax || theirs.version_max < kProtocolVersionMin)
    throw Error(Errc::version_mismatch,
                channel.peer_name() + " speaks protocol versions " + std::to_string(theirs.version_min) + " to " +
                    std::to_string(theirs.version_max) + ", we speak " + std::to_string(kProtocolVersionMin) + " to " +
                    std::to_string(kProtocolVersionMax) + "; update the older side");
  channel.set_idle_timeout(kIdleTimeout);
  channel.set_payload_limit(kPayloadBytesMax);
  co_return theirs;
}

Task<Conversation> dial(const SessionHost& host, Endpoint endpoint) {
  Conversation conversation;
  conversation.channel = with_failpoints(co_await connect(endpoint, host.tls));
  conversation.peer = co_await exchange_hello(host, *conversation.channel);
  if (conversation.peer.host_id == host.local.state.host_id())
    throw Error(Errc::same_host,
                to_string(endpoint) + " is this very host (" + host.name + "): source and destination must differ");
  co_return conversation;
}

Task<json> push(const SessionHost& host, Request request, Progress& progress, Cancellation& cancellation) {
  const auto steps = [&] { return push_steps(host, request, progress, cancellation); };
  co_return co_await reported(steps, request, host.name, request.peer);
}

Task<json> pull(const SessionHost& host, Request request, Progress& progress, Cancellation& cancellation) {
  const auto steps = [&] { return pull_steps(host, request, progress, cancellation); };
  co_return co_await reported(steps, request, request.peer, host.name);
}

Task<> answer_pull(const SessionHost& host, Channel& channel, Pull pull, Cancellation& cancellation) {
  ReportingChannel reporting(channel);
  const Request request = request_from_json(pull.request);
  Leaver leaver;
  std::exception_ptr thrown;
  try {
    leaver = co_await look_at_container(host, request, cancellation);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) {
    const Failure failure = failure_of(thrown, Errc::internal);
    const Message refuse = Refuse{static_cast<std::uint32_t>(failure.code), failure.sentence};
    co_await channel.send(refuse);
    co_return;
  }
  const std::string nobody_dialled;
  const auto send = [&] {
    return send_container(host, nobody_dialled, leaver, reporting, reporting, cancellation);
  };
  const json report = co_await reported(send, request, host.name, channel.peer_name());
  reporting.report(report);
  co_await reporting.flush();
}

Task<> answer_open(const SessionHost& host, Channel& channel, Open open, Cancellation& cancellation) {
  LocalArrivalHost arrivals(host.local);
  NoProgress nobody;
  DestinationSession session(destination_parts(host, "", arrivals, channel, nobody, cancellation));
  const ArrivalOutcome outcome = co_await session.run(std::move(open));
  log(LogLevel::info,
      "event=arrival container=" + outcome.offer.container + " state=" + std::string(name_of(outcome.state)));
}

}  // namespace vmigrate

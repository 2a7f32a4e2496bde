// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/orchestrator.h"

#include <boost/asio/detached.hpp>
#include <nlohmann/json.hpp>

#include "migrate/host_facts.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

using nlohmann::json;

// An agent says nothing for as long as one round takes; a dead one is found by TCP keepalive.
constexpr auto kReportTimeout = std::chrono::hours(24);

/// Owns its share of the channel: the session's end does not wait for it.
Task<> send_cancellation(std::shared_ptr<Channel> channel) {
  const Message abort = Abort{{}, static_cast<std::uint32_t>(Errc::cancelled), "the operator cancelled"};
  try {
    co_await channel->send(abort);
  } catch (const Error&) {
    // The agent is gone, and says so where its report is awaited.
  }
}

/// The agent does it; we watch.
Task<json> watch(const SessionHost& here, Endpoint agent, Request request, Progress& progress,
                 Cancellation& cancellation) {
  const std::shared_ptr<Channel> channel = co_await connect(agent, here.tls);
  co_await exchange_hello(here, *channel);
  const Message start = Start{to_json(request)};
  co_await channel->send(start);
  channel->set_idle_timeout(kReportTimeout);
  // The agent decides whether it is still time for that.
  const auto executor = co_await asio::this_coro::executor;
  const auto cancel = [channel, executor] { asio::co_spawn(executor, send_cancellation(channel), asio::detached); };
  cancellation.on_request(cancel);
  json report;
  while (report.is_null()) {
    const Message message = co_await channel->receive();
    if (const auto* event = std::get_if<Event>(&message))
      progress.report(object_from_text(event->json, channel->peer_name()));
    else if (const auto* last = std::get_if<Report>(&message))
      report = object_from_text(last->json, channel->peer_name());
    else
      throw_unexpected(*channel, message, "Event or Report");
  }
  cancellation.on_request({});
  co_return report;
}

Task<json> dispatch(const SessionHost& here, const Errand& errand, Progress& progress, Cancellation& cancellation) {
  Request request{.container = errand.container, .is_dry_run = errand.is_dry_run, .options = errand.options};
  if (is_here(errand.source)) {
    request.peer = errand.destination;
    co_return co_await push(here, std::move(request), progress, cancellation);
  }
  if (is_here(errand.destination)) {
    request.peer = errand.source;
    request.is_pull = true;
    co_return co_await pull(here, std::move(request), progress, cancellation);
  }
  request.is_pull = errand.is_pull;
  request.peer = errand.is_pull ? errand.source : errand.destination;
  const Endpoint agent = parse_endpoint(errand.is_pull ? errand.destination : errand.source);
  co_return co_await watch(here, agent, std::move(request), progress, cancellation);
}

}  // namespace

bool is_here(const std::string& host) { return host == "localhost" || host == host_name(); }

void check_errand(const Errand& errand) {
  check_container_id(errand.container);
  check_hosts(errand);
}

void check_hosts(const Errand& errand) {
  if (!is_here(errand.source)) parse_endpoint(errand.source);
  if (!is_here(errand.destination)) parse_endpoint(errand.destination);
  if (errand.source == errand.destination || (is_here(errand.source) && is_here(errand.destination)))
    throw Error(Errc::same_host, "source and destination are both " + errand.source + "; name two different hosts");
  if (errand.is_pull && is_here(errand.source))
    throw Error(Errc::usage, "--pull has the destination dial the source, but " + errand.source +
                                 " here has no agent of its own to dial; leave --pull out");
}

Task<json> run_errand(const SessionHost& here, Errand errand, Progress& progress, Cancellation& cancellation) {
  std::exception_ptr thrown;
  json report;
  try {
    report = co_await dispatch(here, errand, progress, cancellation);
  } catch (...) {
    thrown = std::current_exception();
  }
  cancellation.on_request({});
  if (thrown) {
    report = to_json(MigrationReport{.outcome = Outcome::aborted,
                                     .failure = failure_of(thrown, Errc::internal),
                                     .container = errand.container,
                                     .source = errand.source,
                                     .destination = errand.destination});
  }
  co_return report;
}

Task<json> change_rates(const SessionHost& here, std::string host, RateChange change) {
  const Endpoint agent = parse_endpoint(host);
  const std::unique_ptr<Channel> channel = co_await connect(agent, here.tls);
  co_await exchange_hello(here, *channel);
  const Message tune = Tune{to_json(change)};
  co_await channel->send(tune);
  const Report answer = co_await expect<Report>(*channel);
  co_return object_from_text(answer.json, channel->peer_name());
}

}  // namespace vmigrate

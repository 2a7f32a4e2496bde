// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/agent.h"

#include <ctime>

#include <boost/asio/detached.hpp>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "migrate/failpoint_channel.h"
#include "migrate/inventory.h"
#include "migrate/journal_answer.h"
#include "migrate/operator_link.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

// Commands that ran here without an agent die, too.
constexpr auto kLookForWaybillsEvery = std::chrono::seconds(5);

bool opens_a_conversation(const Message& message) {
  return std::holds_alternative<Open>(message) || std::holds_alternative<Pull>(message) ||
         std::holds_alternative<Start>(message) || std::holds_alternative<List>(message) ||
         std::holds_alternative<Tune>(message) || std::holds_alternative<Ask>(message);
}

/// What the rules are asked about; the rest of the document is for whoever is let in.
Deed deed_in(Action action, const std::string& document, const std::string& peer) {
  const nlohmann::json object = object_from_text(document, peer);
  const auto container = object.find("container");
  const auto is_dry_run = object.find("dry_run");
  if (container == object.end() || !container->is_string() || is_dry_run == object.end() || !is_dry_run->is_boolean())
    throw Error(Errc::protocol_violation, peer + " does not say which container it is about, or if it is a dry run");
  Deed deed{action, *container, *is_dry_run};
  check_container_id(deed.container);
  return deed;
}

/// Of each container that is listed; "*" is none, and stands for some.
Deed deed_of(const List& list) {
  const InventoryRequest request = inventory_request_from_json(list.request);
  return {.action = Action::start, .container = "*", .is_dry_run = request.is_dry_run};
}

/// Whoever may start it may say how fast it goes.
Deed deed_of(const Tune& tune) {
  Deed deed{.action = Action::start, .container = rate_change_from_json(tune.request).container};
  check_container_id(deed.container);
  return deed;
}

/// Those that take no session.
bool is_brief(const Message& first) {
  return std::holds_alternative<Ask>(first) || std::holds_alternative<Tune>(first);
}

Deed deed_of(const Message& first, const std::string& peer) {
  if (const auto* open = std::get_if<Open>(&first)) return deed_in(Action::receive, open->offer, peer);
  if (const auto* pull = std::get_if<Pull>(&first)) return deed_in(Action::send, pull->request, peer);
  if (const auto* start = std::get_if<Start>(&first)) return deed_in(Action::start, start->request, peer);
  if (const auto* list = std::get_if<List>(&first)) return deed_of(*list);
  if (const auto* tune = std::get_if<Tune>(&first)) return deed_of(*tune);
  Deed deed{.action = Action::ask, .container = std::get<Ask>(first).container};
  check_container_id(deed.container);
  return deed;
}

}  // namespace

class Agent::Live {
 public:
  Live(Agent& agent, Cancellation& cancellation) : agent_(agent), cancellation_(cancellation) {
    agent_.sessions_.insert(&cancellation_);
  }
  Live(const Live&) = delete;
  ~Live() { agent_.sessions_.erase(&cancellation_); }

 private:
  Agent& agent_;
  Cancellation& cancellation_;
};

Agent::Agent(SessionHost host, const RulesFile& rules, LobbyLimits limits)
    : host_(std::move(host)),
      rules_(rules),
      lobby_(limits),
      arrivals_(host_.local),
      recovery_(recovery_parts(host_, arrivals_, nobody_, end_)) {
  host_.rules = &rules_;
}

Task<> Agent::recover() {
  while (!end_.is_shutting_down()) {
    try {
      co_await look_for_what_is_left();
    } catch (const std::exception& failure) {   // a disk that cannot be read now may be later
      log(LogLevel::error, std::string("event=recovery_failed reason=") + failure.what());
    }
    co_await host_.clock.sleep_for(kLookForWaybillsEvery);
  }
}

Task<> Agent::look_for_what_is_left() {
  const auto executor = co_await asio::this_coro::executor;
  for (Waybill& waybill : recovery_.unattended())
    asio::co_spawn(executor, recovery_.end(std::move(waybill)), asio::detached);
  const auto work = [this] {
    remove_expired(host_.local.state.kept_copies(), static_cast<std::uint64_t>(std::time(nullptr)));
  };
  co_await offload(host_.local.pool, work);
}

Task<> Agent::serve(Listener& listener) {
  const auto executor = co_await asio::this_coro::executor;
  for (;;) {
    std::unique_ptr<Channel> channel;
    try {
      channel = with_failpoints(co_await listener.accept());
    } catch (const Error& error) {
      if (error.code() == make_error_code(Errc::connection_lost)) co_return;
      log(LogLevel::warn, std::string("event=accept_failed reason=") + error.what());
      continue;
    }
    asio::co_spawn(executor, converse(*this, std::move(channel)), asio::detached);
  }
}

void Agent::cancel_all() noexcept {
  const auto sessions = sessions_;   // a session may leave the set while it is told
  for (Cancellation* cancellation : sessions) cancellation->shut_down();
  end_.shut_down();
}

/// The one place where a conversation's failure ends: it must not end the agent.
Task<> Agent::converse(Agent& self, std::unique_ptr<Channel> channel) {
  const std::string peer = channel->peer_name();
  try {
    co_await self.answer(std::move(channel));
  } catch (const std::exception& error) {
    log(LogLevel::warn, "event=conversation_failed peer=" + peer + " reason=" + error.what());
  }
}

Task<Message> Agent::greet(Channel& channel) {
  const auto executor = co_await asio::this_coro::executor;
  const Lobby::Guest guest(lobby_, executor, channel);
  const Hello peer = co_await exchange_hello(host_, channel);
  log(LogLevel::info,
      "event=hello peer=" + channel.peer_name() + " host=" + peer.host_name + " software=" + peer.software);
  channel.set_payload_limit(kRequestBytesMax);
  Message first = co_await channel.receive();
  channel.set_payload_limit(kPayloadBytesMax);
  co_return first;
}

Task<> Agent::answer(std::unique_ptr<Channel> channel) {
  Message first = co_await greet(*channel);
  if (const auto* join = std::get_if<Join>(&first)) {
    const Join wanted = *join;
    co_return co_await answer_join(std::move(channel), wanted);
  }
  if (const auto refusal = judge(first, *channel)) {
    const Message refuse = Refuse{static_cast<std::uint32_t>(refusal->code), refusal->sentence};
    co_await channel->send(refuse);
    co_return;
  }
  Cancellation cancellation;
  if (auto* open = std::get_if<Open>(&first)) {
    const Live live(*this, cancellation);
    co_await answer_open(host_, *channel, std::move(*open), cancellation);
  } else if (auto* pull = std::get_if<Pull>(&first)) {
    const Live live(*this, cancellation);
    co_await answer_pull(host_, *channel, std::move(*pull), cancellation);
  } else if (auto* list = std::get_if<List>(&first)) {
    const Live live(*this, cancellation);
    co_await answer_list(*channel, std::move(*list), cancellation);
  } else if (auto* start = std::get_if<Start>(&first)) {
    co_await answer_start(std::move(channel), std::move(*start));
  } else if (auto* tune = std::get_if<Tune>(&first)) {
    co_await answer_tune(*channel, std::move(*tune));
  } else if (const auto* ask = std::get_if<Ask>(&first)) {
    const Ask asked = *ask;
    co_await answer_ask(std::move(channel), asked);
  }
}

std::optional<Failure> Agent::judge(const Message& first, const Channel& channel) const {
  if (!opens_a_conversation(first)) throw_unexpected(channel, first, "Open, Pull, Start, List, Tune or Ask");
  try {
    const Deed deed = deed_of(first, channel.peer_name());
    if (std::holds_alternative<List>(first)) rules_.require_some(channel.certified_names(), deed);
    else rules_.require(channel.certified_names(), deed);
    if (sessions_.size() >= kSessionsMax && !is_brief(first))
      throw Error(Errc::busy, host_.name + " has " + std::to_string(sessions_.size()) +
                                  " migrations under way; start again when one of them has ended");
    log(LogLevel::info, "event=allowed peer=" + channel.peer_name() + " deed=\"" +
                            line_for(channel.certified_names().front(), deed) + "\"");
    return std::nullopt;
  } catch (const Error& error) {
    log(LogLevel::warn, "event=refused peer=" + channel.peer_name() + " reason=" + error.what());
    return failure_of(std::current_exception(), Errc::internal);
  }
}

/// To the migration that waits for it, whose peer was judged when it began.
Task<> Agent::answer_join(std::unique_ptr<Channel> channel, Join join) {
  const std::string peer = channel->peer_name();
  if (host_.switchboard.join(join, channel)) co_return;
  log(LogLevel::warn, "event=refused peer=" + peer + " reason=no migration waits for its connection");
  const Message refuse = Refuse{static_cast<std::uint32_t>(Errc::not_authorised),
                                "no migration on " + host_.name + " waits for this connection"};
  co_await channel->send(refuse);
}

/// To the session that waits for a word on it; if there is none, the journal answers.
Task<> Agent::answer_ask(std::unique_ptr<Channel> channel, Ask ask) {
  if (host_.switchboard.put_through(ask, channel)) co_return;
  const Message answer = answer_from_journal(host_.local.state.journals(), ask);
  log(LogLevel::info, "session=" + to_hex(ask.id).substr(0, 8) + " event=asked answer=" + std::string(name_of(answer)));
  co_await channel->send(answer);
}

/// To the session that sends that container.
Task<> Agent::answer_tune(Channel& channel, Tune tune) {
  const RateChange change = rate_change_from_json(tune.request);
  std::optional<Rates> rates;
  if (host_.rate_board != nullptr) rates = host_.rate_board->change(change);
  if (!rates) {
    const Message refuse = Refuse{static_cast<std::uint32_t>(Errc::unknown_container),
                                  "no migration under way from " + host_.name + " has anything of container " +
                                      change.container + " left to send; name the host that it leaves"};
    co_return co_await channel.send(refuse);
  }
  nlohmann::json answer = to_json(*rates);
  answer["event"] = "report";
  answer["result"] = "tuned";
  answer["container"] = change.container;
  const Message report = Report{to_text(answer)};
  co_await channel.send(report);
}

/// What the peer may move, container by container; of the rest he hears how many they are.
Task<> Agent::answer_list(Channel& channel, List list, Cancellation& cancellation) {
  Deed deed = deed_of(list);
  const Rules rules = rules_.require_some(channel.certified_names(), deed);
  const std::function<bool(const std::string&)> may_be_shown = [&](const std::string& container) {
    deed.container = container;
    return rules.allowing(channel.certified_names(), deed) != nullptr;
  };
  Inventory inventory;
  std::optional<Failure> failure;
  try {
    inventory = co_await take_inventory(host_.local, may_be_shown, cancellation);
  } catch (...) {
    failure = failure_of(std::current_exception(), Errc::internal);
  }
  if (failure) {
    const Message refuse = Refuse{static_cast<std::uint32_t>(failure->code), failure->sentence};
    co_return co_await channel.send(refuse);
  }
  cancellation.on_request([&channel] { channel.close(); });   // a peer may take its time to read
  for (const Inventory& piece : in_pieces(inventory)) {
    const Message listing = Listing{to_json(piece)};
    co_await channel.send(listing);
  }
}

Task<> Agent::answer_start(std::unique_ptr<Channel> channel, Start start) {
  const Request request = request_from_json(start.request);
  Cancellation cancellation;
  const Live live(*this, cancellation);
  const auto executor = co_await asio::this_coro::executor;
  OperatorLink link(executor, std::move(channel), cancellation);
  nlohmann::json report;
  if (request.is_pull)
    report = co_await pull(host_, request, link, cancellation);
  else
    report = co_await push(host_, request, link, cancellation);
  co_await link.finish(std::move(report));
}

}  // namespace vmigrate

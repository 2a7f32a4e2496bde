// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/sim/process.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <nlohmann/json.hpp>

#include "migrate/event_channel.h"
#include "migrate/journal_answer.h"
#include "tests/sim/fakes.h"
#include "tests/sim/world.h"

namespace vmigrate::sim {
namespace {

using namespace std::chrono_literals;

constexpr auto kLookForWaybillsEvery = 5s;   // as in migrate/agent.cc
constexpr auto kOpenTimeout = 120s;          // as in migrate/session_start.cc
constexpr auto kIdleTimeout = 30s;
constexpr auto kShutdownTimeout = 30s;       // as in migrate/commands.cc

}  // namespace

// --- time ---------------------------------------------------------------------------------------------------------

Alarm::Alarm(Process& process, TimePoint when, asio::steady_timer& timer) : timeline_(process.world().timeline()) {
  ticket_ = timeline_.at(when, [this, &process, &timer] {
    is_due_ = true;
    timer.cancel();
    process.wake();
  });
}

Alarm::~Alarm() {
  if (!is_due_) timeline_.take_away(ticket_);
}

TimePoint ProcessClock::now() const { return process_.world().timeline().now(); }

Task<> ProcessClock::sleep_until(TimePoint when) {
  if (when <= now()) co_return;
  asio::steady_timer timer(process_.loop(), asio::steady_timer::time_point::max());
  const Alarm alarm(process_, when, timer);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!alarm.is_due()) throw boost::system::system_error(asio::error::operation_aborted);
}

// --- life ---------------------------------------------------------------------------------------------------------

class Process::Live {
 public:
  Live(Process& process, Cancellation& cancellation) : process_(process), cancellation_(cancellation) {
    process_.sessions_.push_back(&cancellation_);
  }
  Live(const Live&) = delete;
  ~Live() { std::erase(process_.sessions_, &cancellation_); }

 private:
  Process& process_;
  Cancellation& cancellation_;
};

Process::Process(World& world, Host& host, std::string name, std::string agent_address)
    : world_(world),
      host_(host),
      name_(std::move(name)),
      agent_address_(std::move(agent_address)),
      disk_(host.disk, this, [this](const auto& path, const char* operation) { reach_disk(path, operation); }),
      clock_(*this),
      arrivals_(std::make_unique<SimArrivalHost>(*this)),
      recovery_(recovery_parts()) {}

/// What is still suspended goes away with the loop. A process that was not killed has effects to the last: what it let
/// go of is let go of.
Process::~Process() = default;

/// "/journal/ct" is in "journal".
void Process::reach_disk(const std::filesystem::path& path, const char* operation) {
  if (!world_.can_strike() && !is_dead_) return;
  const std::string text = path.native();
  const auto end = text.find('/', 1);
  const std::string directory = text.substr(1, end == std::string::npos ? std::string::npos : end - 1);
  world_.reach(*this, "disk." + directory + "." + operation);
}

bool Process::poll() {
  bool has_run = false;
  auto& work = asio::use_service<asio::detail::scheduler>(pool_);
  while (is_ready_ && !is_dead_) {
    is_ready_ = false;
    for (bool is_busy = true; is_busy && !is_dead_;) {
      boost::system::error_code ignored;
      is_busy = work.poll_one(ignored) > 0;
      if (!is_dead_ && loop_.poll_one() > 0) is_busy = true;
      loop_.restart();
      has_run = has_run || is_busy;
    }
  }
  return has_run;
}

Recovery::Parts Process::recovery_parts() {
  return {waybills(),
          journals(),
          disk_,
          [this](const Waybill& waybill) { return adopt_departure(*this, waybill); },
          *arrivals_,
          [this](std::string address) { return dial(std::move(address)); },
          clock_,
          nobody_,
          end_,
          switchboard_};
}

// --- an agent -----------------------------------------------------------------------------------------------------

void Process::serve() {
  asio::co_spawn(loop_, look_for_waybills(), asio::detached);
  wake();
}

/// As Agent::recover().
Task<> Process::look_for_waybills() {
  while (!end_.is_shutting_down()) {
    for (Waybill& waybill : recovery_.unattended())
      asio::co_spawn(loop_, recovery_.end(std::move(waybill)), asio::detached);
    co_await clock_.sleep_for(kLookForWaybillsEvery);
  }
}

void Process::cancel_sessions() {
  const auto sessions = sessions_;
  for (Cancellation* session : sessions) session->request();
  wake();
}

void Process::shut_down() {
  const auto sessions = sessions_;
  for (Cancellation* session : sessions) session->shut_down();
  end_.shut_down();
  asio::co_spawn(loop_, end_when_idle(), asio::detached);
  wake();
}

Task<> Process::end_when_idle() {
  const TimePoint deadline = clock_.now() + kShutdownTimeout;
  while (!(sessions_.empty() && recovery_.is_idle()) && clock_.now() < deadline) co_await clock_.sleep_for(50ms);
  has_ended_ = true;
}

void Process::accept(std::unique_ptr<Channel> channel) {
  asio::co_spawn(loop_, converse(std::move(channel)), asio::detached);
  wake();
}

Task<> Process::converse(std::unique_ptr<Channel> channel) {
  ++conversations_;
  try {
    co_await answer(std::move(channel));
  } catch (const std::exception& error) {
    world_.tell([&] { return name_ + ": a conversation failed: " + error.what(); });
  }
  --conversations_;
}

/// As Agent::answer().
Task<> Process::answer(std::unique_ptr<Channel> channel) {
  Message first = co_await channel->receive();
  if (auto* open = std::get_if<Open>(&first)) {
    Open opened = std::move(*open);
    co_await answer_open(std::move(channel), std::move(opened));
  } else if (auto* pulled = std::get_if<Pull>(&first)) {
    Pull asked = std::move(*pulled);
    co_await answer_pull(std::move(channel), std::move(asked));
  } else if (const auto* ask = std::get_if<Ask>(&first)) {
    const Ask asked = *ask;
    if (switchboard_.put_through(asked, channel)) co_return;
    const Message reply = answer_from_journal(journals(), asked, disk_);
    co_await channel->send(reply);
  } else if (const auto* join = std::get_if<Join>(&first)) {
    if (switchboard_.join(*join, channel)) co_return;
    const Message refuse = Refuse{static_cast<std::uint32_t>(Errc::not_authorised), "no migration waits for this"};
    co_await channel->send(refuse);
  } else {
    throw_unexpected(*channel, first, "Open, Pull, Ask or Join");
  }
}

Task<> Process::answer_open(std::unique_ptr<Channel> channel, Open open) {
  Cancellation cancellation;
  const Live live(*this, cancellation);
  DestinationSession session({*arrivals_, *channel, clock_, pool_, nobody_, cancellation, switchboard_, agent_address_,
                              "", [this](std::string address) { return dial(std::move(address)); },
                              loop_.get_executor()});
  co_await session.run(std::move(open));
}

Task<> Process::answer_pull(std::unique_ptr<Channel> channel, Pull pull) {
  Cancellation cancellation;
  const Live live(*this, cancellation);
  ReportingChannel reporting(*channel);
  const Request request = request_from_json(pull.request);
  std::unique_ptr<Departure> departure;
  std::exception_ptr thrown;
  try {
    departure = co_await find_departure(*this, request);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) {
    const Failure failure = failure_of(thrown, Errc::internal);
    const Message refuse = Refuse{static_cast<std::uint32_t>(failure.code), failure.sentence};
    co_await channel->send(refuse);
    co_return;
  }
  const std::string nobody_dialled;
  const MigrationReport report = co_await send_container(nobody_dialled, *departure, reporting, cancellation);
  reporting.report(to_json(report));
  co_await reporting.flush();
}

// --- whoever starts it --------------------------------------------------------------------------------------------

void Process::start(Attempt& attempt) {
  asio::co_spawn(loop_, run_attempt(attempt), asio::detached);
  wake();
}

Task<> Process::run_attempt(Attempt& attempt) {
  Cancellation cancellation;
  const Live live(*this, cancellation);
  std::string failure;
  try {
    if (attempt.is_pull) co_await pull(attempt, cancellation);
    else co_await push(attempt, cancellation);
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (!failure.empty()) world_.tell([&] { return name_ + ": the attempt did not begin: " + failure; });
  world_.tell([&] { return name_ + ": the attempt has ended here"; });
  if (!is_agent()) has_ended_ = true;
}

Task<> Process::push(Attempt& attempt, Cancellation& cancellation) {
  const Request request{.container = "ct", .peer = text_of(attempt.to), .options = world_.plan().options};
  const auto departure = co_await find_departure(*this, request);
  cancellation.check();
  const std::string peer = request.peer;
  const auto channel = co_await dial(peer);
  co_await send_container(peer, *departure, *channel, cancellation);
}

Task<> Process::pull(Attempt& attempt, Cancellation& cancellation) {
  const std::string peer = text_of(attempt.from);
  const auto wire = co_await dial(peer);
  ForwardingChannel channel(*wire, nobody_);
  const Request request{
      .container = "ct", .peer = agent_address_, .is_pull = true, .options = world_.plan().options};
  const Message ask = Pull{to_json(request)};
  co_await channel.send(ask);
  channel.set_idle_timeout(kOpenTimeout);
  Open open = co_await expect<Open>(channel);
  DestinationSession session({*arrivals_, channel, clock_, pool_, nobody_, cancellation, switchboard_, agent_address_,
                              peer, [this](std::string address) { return dial(std::move(address)); },
                              loop_.get_executor()});
  co_await session.run(std::move(open));
  channel.set_idle_timeout(kIdleTimeout);
  while (channel.report().is_null()) co_await channel.receive();
}

Task<MigrationReport> Process::send_container(const std::string& dialled, Departure& departure, Channel& channel,
                                              Cancellation& cancellation) {
  const MigrationId id{world_.random().next(), world_.random().next()};
  SourceSession session({departure, channel, clock_, nobody_, cancellation, id, text_of(host_.name), switchboard_,
                         dialled, [this](std::string address) { return dial(std::move(address)); },
                         loop_.get_executor()});
  MigrationReport report = co_await session.run();
  world_.tell([&] {
    return name_ + ": the source's session ended: " + std::string(name_of(report.outcome)) +
           (report.failure ? "; " + report.failure->sentence : "");
  });
  co_return report;
}

/// As session_start.cc's dial(), without the Hello.
Task<std::unique_ptr<Channel>> Process::dial(std::string address) {
  if (address.empty()) throw Error(Errc::connect_failed, "the other host has no agent to ask");
  co_return co_await world_.connect(*this, address);
}

// --- somebody who heard it ----------------------------------------------------------------------------------------

void Process::replay(const std::vector<Message>& words, HostName to) {
  std::string address = text_of(to);
  asio::co_spawn(loop_, say_again(words, std::move(address)), asio::detached);
  wake();
}

Task<> Process::say_again(std::vector<Message> words, std::string address) {
  try {
    const auto channel = co_await dial(address);
    for (const Message& word : words) {
      co_await channel->send(word);
      co_await channel->receive();
    }
  } catch (const std::exception& error) {
    world_.tell([&] { return name_ + ": " + error.what(); });
  }
  has_ended_ = true;
}

}  // namespace vmigrate::sim

// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/destination_settlement.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "base/log.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kGoTimeout = 30s;         // two fsyncs and a round trip; then we ask
constexpr auto kDoneTimeout = 60s;
constexpr auto kTalkTimeout = 10s;
constexpr auto kFirstPause = 200ms;
constexpr auto kLastPause = 30s;
constexpr auto kRunAgainAfter = 1s;
constexpr auto kAnnouncements = 4;
constexpr auto kAnnouncementPause = 250ms;

/// What an Abort says.
Failure failure_in(const Message& abort, const Channel& channel) {
  try {
    throw_unexpected(channel, abort, "Go");
  } catch (...) {
    return failure_of(std::current_exception(), Errc::cancelled);
  }
}

}  // namespace

bool DestinationSettlement::is_waiting() const {
  return parts_.stage.state() == DestinationState::prepared && !is_undecided_;
}

Task<> DestinationSettlement::take_over(Channel& channel) {
  const auto executor = co_await asio::this_coro::executor;
  Switchboard::Line line(executor, parts_.switchboard, parts_.id, parts_.container);
  line.on_call([&channel] { channel.close(); });   // it calls because it does not hear us any more
  parts_.cancellation.on_request([this, &channel] {
    if (is_waiting()) channel.close();
  });
  std::exception_ptr thrown;
  try {
    const Message word = co_await say_ready(channel);
    co_await follow(word, channel, line);
  } catch (...) {
    thrown = std::current_exception();
  }
  line.on_call({});
  parts_.cancellation.on_request({});
  if (thrown) co_await note_failure(thrown);
  if (is_waiting()) channel.close();
  co_await ask_until_told(line);
}

Task<> DestinationSettlement::go_on() {
  const auto executor = co_await asio::this_coro::executor;
  Switchboard::Line line(executor, parts_.switchboard, parts_.id, parts_.container);
  if (parts_.stage.state() == DestinationState::owning) {
    co_await run_until_it_does();
    using namespace asio::experimental::awaitable_operators;
    co_await (answer_calls(line) && announce());
  } else if (!co_await parts_.arrival.is_held()) {
    failure_ = Failure{Errc::restore_failed, "the restored processes are gone"};
    co_await refuse(DestinationEvent::failed);
  }
  co_await ask_until_told(line);
}

/// Only the source's word, or a human, ends it.
Task<> DestinationSettlement::ask_until_told(Switchboard::Line& line) {
  Duration pause = kFirstPause;
  std::unique_ptr<Channel> call;
  while (is_waiting()) {
    if (parts_.cancellation.is_shutting_down()) co_return parts_.arrival.leave_as_it_is();
    if (parts_.cancellation.is_requested()) co_return co_await refuse_as_cancelled();
    std::string failure;
    try {
      co_await talk(std::move(call), line);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    line.on_call({});
    if (!failure.empty()) log(LogLevel::info, parts_.stage.label() + " event=asked reason=" + failure);
    if (!is_waiting()) co_return;
    call = co_await line.next_call(parts_.clock, pause);
    pause = std::min<Duration>(pause * 2, kLastPause);
  }
}

/// One conversation: over the source's call if there is one, else over one of our own. If both call at once ours gives
/// way, and only ours: the source does not hang up.
Task<> DestinationSettlement::talk(std::unique_ptr<Channel> call, Switchboard::Line& line) {
  const bool was_called = call != nullptr;
  if (!was_called) call = co_await parts_.dial();
  if (!was_called && line.has_call()) co_return;
  line.on_call([&channel = *call] { channel.close(); });
  call->set_idle_timeout(kTalkTimeout);
  if (was_called) {
    const Message word = co_await say_ready(*call);
    co_await follow(word, *call, line);
  } else {
    const Message ask = Ask{parts_.id, parts_.container};
    co_await call->send(ask);
    const Message word = co_await call->receive();
    co_await follow(word, *call, line);
  }
}

Task<Message> DestinationSettlement::say_ready(Channel& channel) {
  const Message ready = Ready{parts_.id, parts_.root};
  co_await channel.send(ready);
  channel.set_idle_timeout(kGoTimeout);
  co_return co_await channel.receive();
}

// --- the source's word --------------------------------------------------------------------------------------------

Task<> DestinationSettlement::follow(const Message& word, Channel& channel, Switchboard::Line& line) {
  if (const auto* go = std::get_if<Go>(&word); go && go->id == parts_.id) {
    if (!co_await parts_.arrival.is_held()) co_return co_await refuse_what_is_gone(channel);
    if (!record(RecordType::owned)) co_return;
    parts_.stage.enter(DestinationEvent::go);
    co_await run_until_it_does();
    // Beside each other: switches should hear soon where it is, and the source should not have to wait for that.
    using namespace asio::experimental::awaitable_operators;
    co_await (tell_running(channel, line) && announce());
  } else if (const auto* abort = std::get_if<Abort>(&word); abort && abort->id == parts_.id) {
    failure_ = failure_in(word, channel);
    co_await refuse(DestinationEvent::dismissed);
    co_await tell_refused(channel);
  } else if (!std::holds_alternative<Wait>(word)) {
    throw_unexpected(channel, word, "Go");
  }
}

/// The source has the processes still, and their memory: better than a start from the disk here.
Task<> DestinationSettlement::refuse_what_is_gone(Channel& channel) {
  failure_ = Failure{Errc::restore_failed, "the restored processes are gone"};
  co_await refuse(DestinationEvent::failed);
  co_await tell_refused(channel);
}

Task<> DestinationSettlement::tell_refused(Channel& channel) {
  const Message refused = Refused{parts_.id};
  if (parts_.stage.state() == DestinationState::refused) co_await channel.send(refused);
}

/// OWNED is recorded, so it is ours whatever happens: there is no way back, only on.
Task<> DestinationSettlement::run_until_it_does() {
  while (parts_.stage.state() == DestinationState::owning) {
    std::string failure;
    try {
      co_await parts_.arrival.run();
      parts_.stage.enter(DestinationEvent::resumed);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (failure.empty()) co_return;
    log(LogLevel::error, parts_.stage.label() + " event=not_running reason=" + failure);
    parts_.stage.enter(DestinationEvent::failed);
    co_await parts_.clock.sleep_for(kRunAgainAfter);
  }
}

/// Until the source has heard it, over this connection or a newer one; if it never does, it will ask, and the journal
/// answers.
Task<> DestinationSettlement::tell_running(Channel& channel, Switchboard::Line& line) {
  const bool is_heard = co_await hear_done(channel);
  line.on_call({});
  if (is_heard) end_recorded(line);
  else co_await answer_calls(line);
}

/// From here on the journal answers.
void DestinationSettlement::end_recorded(Switchboard::Line& line) {
  line.close();
  parts_.arrival.close_journal();
}

/// Of a source that is in doubt.
Task<> DestinationSettlement::answer_calls(Switchboard::Line& line) {
  bool is_heard = false;
  while (!is_heard) {
    const auto call = co_await line.next_call(parts_.clock, kFirstPause);
    if (!call) break;
    is_heard = co_await hear_done(*call);
  }
  end_recorded(line);
}

Task<bool> DestinationSettlement::hear_done(Channel& channel) {
  try {
    const Message running = Running{parts_.id, parts_.epoch};
    co_await channel.send(running);
    channel.set_idle_timeout(kDoneTimeout);
    co_await expect<Done>(channel);
    co_return true;
  } catch (const Error& error) {
    log(LogLevel::info, parts_.stage.label() + " event=done_untold reason=" + error.what());
    co_return false;
  }
}

Task<> DestinationSettlement::announce() {
  for (int i = 0; i < kAnnouncements; ++i) {
    co_await parts_.clock.sleep_for(kAnnouncementPause);
    parts_.arrival.announce();
  }
}

// --- when something failed ----------------------------------------------------------------------------------------

/// A source that does not speak may have given it to us: we ask. Only our own operator's wish is refused at once.
Task<> DestinationSettlement::note_failure(std::exception_ptr thrown) {
  const Failure failure = failure_of(thrown, Errc::internal);
  log(LogLevel::warn, parts_.stage.label() + " event=failed reason=" + failure.sentence);
  if (!is_waiting()) co_return;
  failure_ = failure;
  if (!parts_.cancellation.is_requested()) co_return parts_.stage.enter(DestinationEvent::lost_peer);
  co_await refuse_as_cancelled();
}

Task<> DestinationSettlement::refuse_as_cancelled() {
  failure_ = Failure{Errc::cancelled, "cancelled by the operator on the destination"};
  co_await refuse(DestinationEvent::failed);
}

/// REFUSED is recorded before anything is thrown away or told. If it cannot be, the container stays held: nobody knows
/// yet whether the source gave it to us.
Task<> DestinationSettlement::refuse(DestinationEvent event) {
  if (!record(RecordType::refused)) co_return;
  parts_.stage.enter(event);
  co_await parts_.arrival.discard(parts_.leftovers);
}

/// False when nobody knows what is on the disk: then everything stays as it is until an agent reads it again.
bool DestinationSettlement::record(RecordType type) {
  try {
    parts_.arrival.journal().append({.type = type,
                                     .migration = parts_.id,
                                     .epoch = parts_.epoch,
                                     .image_root = parts_.root,
                                     .peer = parts_.peer});
    return true;
  } catch (const std::exception& failure) {
    log(LogLevel::error, parts_.stage.label() + " event=undecided reason=" + failure.what());
    failure_ = Failure{Errc::internal, failure.what()};
    is_undecided_ = true;
    parts_.arrival.leave_as_it_is();
    return false;
  }
}

}  // namespace vmigrate

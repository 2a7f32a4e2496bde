// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/source_settlement.h"

#include "base/log.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kRunningTimeout = 30s;      // then we ask
constexpr auto kTalkTimeout = 10s;
constexpr auto kFirstPause = 200ms;
constexpr auto kLastPause = 30s;
constexpr auto kRecordAgainAfter = 1s;

}  // namespace

// --- the gift -----------------------------------------------------------------------------------------------------

/// From the entry into `committing` on, nothing but the destination's recorded word moves the container.
Task<> SourceSettlement::give(Channel& channel) {
  const auto executor = co_await asio::this_coro::executor;
  Switchboard::Line line(executor, parts_.switchboard, parts_.id, parts_.departure.offer().container);
  line.on_call([&channel] { channel.close(); });   // it calls because it does not hear us any more
  parts_.stage.enter(SourceEvent::ready);
  if (record_given()) co_await hear_answer_to_go(channel);
  line.on_call({});
  if (is_waiting()) channel.close();
  co_await ask_until_answered(line);
}

/// False when nobody knows what is on the disk. Then GO is not sent and nothing is thawed: the destination is asked to
/// refuse for good, and its record takes the place of ours.
bool SourceSettlement::record_given() {
  try {
    parts_.departure.fence();
    record(RecordType::given, parts_.departure.offer().epoch);
    return true;
  } catch (const std::exception& failure) {
    parts_.report.failure = Failure{Errc::internal, std::string("the journal failed at the hand-over (") +
                                                        failure.what() + "); the destination is asked to refuse"};
    parts_.stage.enter(SourceEvent::unrecorded);
    return false;
  }
}

Task<> SourceSettlement::hear_answer_to_go(Channel& channel) {
  std::exception_ptr thrown;
  try {
    channel.set_idle_timeout(kRunningTimeout);
    const Message go = Go{parts_.id};
    co_await channel.send(go);
    const Message answer = co_await channel.receive();
    co_await follow(answer, channel);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) note_failure(failure_of(thrown, Errc::internal));
}

// --- when there was no answer -------------------------------------------------------------------------------------

Task<> SourceSettlement::go_on() {
  const auto executor = co_await asio::this_coro::executor;
  Switchboard::Line line(executor, parts_.switchboard, parts_.id, parts_.departure.offer().container);
  std::exception_ptr thrown;
  try {
    if (parts_.stage.state() == SourceState::releasing) co_await release();
    if (parts_.stage.state() == SourceState::reclaiming) co_await reclaim();
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) note_failure(failure_of(thrown, Errc::internal));
  co_await ask_until_answered(line);
}

bool SourceSettlement::is_waiting() const {
  return parts_.stage.state() == SourceState::in_doubt || parts_.stage.state() == SourceState::retracting;
}

/// Only the destination's word, or a human, ends it.
Task<> SourceSettlement::ask_until_answered(Switchboard::Line& line) {
  Duration pause = kFirstPause;
  std::unique_ptr<Channel> call;
  while (is_waiting() && !parts_.cancellation.is_shutting_down()) {
    std::exception_ptr thrown;
    try {
      co_await talk(std::move(call));
    } catch (...) {
      thrown = std::current_exception();
    }
    if (thrown) note_failure(failure_of(thrown, Errc::internal));
    if (!is_waiting()) co_return;
    call = co_await line.next_call(parts_.clock, pause);
    pause = std::min<Duration>(pause * 2, kLastPause);
  }
}

/// One conversation: over the destination's call if there is one, else over one of our own.
Task<> SourceSettlement::talk(std::unique_ptr<Channel> call) {
  const bool was_called = call != nullptr;
  if (!was_called) call = co_await parts_.dial();
  call->set_idle_timeout(kTalkTimeout);
  const Message answer = co_await converse(*call, was_called);
  if (!std::holds_alternative<Wait>(answer)) co_await follow(answer, *call);
}

/// Who called has said Ask already. READY means that the destination still waits for our word.
Task<Message> SourceSettlement::converse(Channel& channel, bool was_called) {
  if (!was_called) {
    const Message ask = Ask{parts_.id, parts_.departure.offer().container};
    co_await channel.send(ask);
    Message answer = co_await channel.receive();
    if (!std::holds_alternative<Ready>(answer)) co_return answer;
  }
  const Message word = our_word();
  co_await channel.send(word);
  channel.set_idle_timeout(kRunningTimeout);
  co_return co_await channel.receive();
}

/// GO only while it is given, and that is known to be on the disk.
Message SourceSettlement::our_word() const {
  const Journal& journal = parts_.departure.journal();
  const auto newest = journal.newest_of(parts_.id);
  const bool is_given_for_sure = journal.is_sound() && newest && newest->type == RecordType::given;
  if (is_given_for_sure && parts_.stage.state() == SourceState::in_doubt) return Go{parts_.id};
  return Abort{parts_.id, static_cast<std::uint32_t>(Errc::cancelled), "the source does not give it away"};
}

// --- the destination's word ---------------------------------------------------------------------------------------

Task<> SourceSettlement::follow(const Message& answer, Channel& channel) {
  const bool may_run_there = parts_.stage.state() != SourceState::retracting;   // no GO was ever said
  if (const auto* running = std::get_if<Running>(&answer); running && running->id == parts_.id && may_run_there) {
    parts_.report.downtime.lap("hand-over", parts_.clock.now());
    parts_.stage.enter(SourceEvent::running);
    co_await release();
    const Message done = Done{parts_.id};
    co_await channel.send(done);
  } else if (const auto* refused = std::get_if<Refused>(&answer); refused && refused->id == parts_.id) {
    parts_.stage.enter(SourceEvent::refused);
    co_await reclaim();
  } else {
    throw_unexpected(channel, answer, "Running or Refused");
  }
}

Task<> SourceSettlement::release() {
  parts_.report.outcome = Outcome::cleanup_pending;   // it runs there, whatever fails here from now on
  parts_.report.failure.reset();
  record(RecordType::released, parts_.departure.offer().epoch);
  if (parts_.before_release) parts_.before_release();
  parts_.report.kept_image = co_await parts_.departure.release(parts_.id);
  parts_.departure.forget();
  parts_.report.outcome = Outcome::migrated;
  parts_.stage.enter(SourceEvent::released);
}

/// The refusal is on the destination's disk, so it is ours even if our own disk takes no record of that. Until it does
/// it is not forgotten: whoever takes up the waybill asks, and is told the same.
Task<> SourceSettlement::reclaim() {
  bool is_recorded = record_reclaimed();
  co_await parts_.departure.reclaim();
  parts_.report.outcome = Outcome::aborted;
  if (!parts_.report.failure || parts_.report.failure->code == Errc::in_doubt)
    parts_.report.failure =
        Failure{Errc::restore_failed, "the destination refused at the last moment; the container runs on the source"};
  while (!is_recorded && !parts_.cancellation.is_shutting_down()) {
    co_await parts_.clock.sleep_for(kRecordAgainAfter);
    is_recorded = record_reclaimed();
  }
  if (is_recorded) parts_.departure.forget();
  parts_.stage.enter(SourceEvent::reclaimed);
}

bool SourceSettlement::record_reclaimed() {
  try {
    record(RecordType::reclaimed, parts_.departure.offer().epoch + 1);
    return true;
  } catch (const std::exception& failure) {
    log(LogLevel::error, parts_.stage.label() + " event=unrecorded reason=" + failure.what());
    return false;
  }
}

/// Again after a crash, but not twice.
void SourceSettlement::record(RecordType type, std::uint64_t epoch) {
  Journal& journal = parts_.departure.journal();
  if (!journal.is_sound()) journal.mend();
  const auto newest = journal.newest_of(parts_.id);
  if (newest && newest->type == type) return;
  journal.append({.type = type,
                  .migration = parts_.id,
                  .epoch = epoch,
                  .image_root = parts_.report.image_digest.value_or(newest ? newest->image_root : Bits128{}),
                  .peer = parts_.peer});
}

// --- when something failed ----------------------------------------------------------------------------------------

void SourceSettlement::note_failure(const Failure& failure) {
  log(LogLevel::warn, parts_.stage.label() + " event=failed reason=" + failure.sentence);
  const SourceEvent event = means_peer_is_lost(failure.code) ? SourceEvent::lost_peer : SourceEvent::failed;
  switch (parts_.stage.state()) {
    case SourceState::committing:
    case SourceState::reclaiming:
      parts_.stage.enter(event == SourceEvent::lost_peer && parts_.stage.state() == SourceState::committing
                             ? SourceEvent::lost_peer
                             : SourceEvent::failed);
      report_doubt(failure.sentence);
      break;
    case SourceState::releasing:
      parts_.stage.enter(SourceEvent::failed);
      parts_.report.failure = failure;
      break;
    default:   // we ask again, or it is over already
      break;
  }
}

void SourceSettlement::report_doubt(const std::string& reason) {
  parts_.report.outcome = Outcome::in_doubt;
  parts_.report.failure = Failure{Errc::in_doubt, "the container was given to " + parts_.peer +
                                                      ", which does not answer (" + reason +
                                                      "); it stays frozen here until the two hosts have spoken again"};
  parts_.progress.report({{"event", "in_doubt"}, {"message", parts_.report.failure->sentence}});
}

// --- an attempt that is over --------------------------------------------------------------------------------------

Task<bool> SourceSettlement::tell_aborted(Duration patience) {
  const auto executor = co_await asio::this_coro::executor;
  Switchboard::Line line(executor, parts_.switchboard, parts_.id, parts_.departure.offer().container);
  const TimePoint deadline = parts_.clock.now() + patience;
  Duration pause = kFirstPause;
  std::unique_ptr<Channel> call;
  bool is_told = false;
  while (!is_told && parts_.clock.now() < deadline && !parts_.cancellation.is_shutting_down()) {
    try {
      is_told = co_await say_aborted(std::move(call));
    } catch (const std::exception& failure) {
      log(LogLevel::debug, parts_.stage.label() + " event=untold reason=" + failure.what());
    }
    if (!is_told) call = co_await line.next_call(parts_.clock, pause);
    pause *= 2;
  }
  co_return is_told;
}

/// True once the destination has refused, or knows nothing of it.
Task<bool> SourceSettlement::say_aborted(std::unique_ptr<Channel> call) {
  const bool was_called = call != nullptr;
  if (!was_called) call = co_await parts_.dial();
  call->set_idle_timeout(kTalkTimeout);
  const Message answer = co_await converse(*call, was_called);
  co_return !std::holds_alternative<Wait>(answer);
}

}  // namespace vmigrate

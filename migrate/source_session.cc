// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/source_session.h"

#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "base/log.h"
#include "engine/volume_digest.h"
#include "migrate/image_stream.h"

namespace vmigrate {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr auto kAnswerTimeout = 60s;        // the destination makes an image and runs `criu check`
constexpr auto kIdleTimeout = 30s;
constexpr auto kRunningTimeout = 30s;       // then we ask
constexpr auto kLastWordTimeout = 1s;
constexpr auto kFirstAskAfter = 1s;
constexpr auto kLastAskAfter = 30s;
constexpr double kComparedBytesPerSecond = 1e9;   // read, digested and compared: half of what bench/copy_bench shows

}  // namespace

SourceSession::SourceSession(Parts parts) : parts_(std::move(parts)) {
  const Offer& offer = parts_.departure.offer();
  report_.container = offer.container;
  report_.source = parts_.host_name;
  report_.destination = parts_.channel.peer_name();
  report_.migration = parts_.id;
  report_.volume_bytes = offer.volume_bytes;
  policy_ = {.downtime_max = offer.options.downtime_max,
             .rounds_max = offer.options.rounds_max,
             .on_stall = offer.options.on_stall,
             .fixed_downtime = kFixedFreezeCost,
             .memory_bytes = offer.memory_bytes};
}

Task<MigrationReport> SourceSession::run() {
  started_ = parts_.clock.now();
  // After GIVEN a change of mind comes too late: nothing is interrupted any more.
  parts_.cancellation.on_request([this] {
    if (!is_given(state_)) parts_.channel.close();
  });
  std::exception_ptr thrown;
  try {
    co_await run_steps();
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) {
    Failure failure = failure_of(thrown, Errc::copy_failed);
    const bool is_peer_lost = means_peer_is_lost(failure.code);
    if (is_peer_lost && !is_given(state_)) failure = co_await last_word(failure);
    co_await recover(failure, is_peer_lost);
  }
  parts_.cancellation.on_request({});
  report_.total = parts_.clock.now() - started_;
  report_.wire_bytes = parts_.channel.bytes_sent();
  co_return report_;
}

Task<> SourceSession::run_steps() {
  co_await introduce();
  co_await copy_while_running();
  co_await hand_over();
  co_await commit();
}

Task<> SourceSession::introduce() {
  parts_.channel.set_idle_timeout(kAnswerTimeout);
  const Message open = Open{parts_.id, to_json(parts_.departure.offer())};
  co_await parts_.channel.send(open);
  const Accept accept = co_await expect<Accept>(parts_.channel);
  if (accept.id != parts_.id)
    throw Error(Errc::protocol_violation,
                parts_.channel.peer_name() + " accepted another migration than the one offered");
  answer_ = answer_from_json(accept.answer);
  parts_.channel.set_idle_timeout(kIdleTimeout);
  parts_.channel.set_compression(parts_.departure.offer().options.compression);
  enter(SourceEvent::accepted);
}

// --- while it runs ------------------------------------------------------------------------------------------------

Task<> SourceSession::copy_while_running() {
  const std::uint64_t trimmed = co_await parts_.departure.trim();
  if (trimmed > 0) remark("discarded " + format_bytes(trimmed) + " of unused space");
  armed_ = parts_.departure.arm_tracker();
  report_.tracker = armed_.tracker->name();
  if (!armed_.remark.empty()) remark(armed_.remark);
  sink_ = std::make_unique<RemoteBlockSink>(RemoteBlockSink::Parts{parts_.channel, parts_.departure.digests(),
                                                                   parts_.clock, parts_.cancellation,
                                                                   parts_.departure.offer().options.bandwidth_max});
  copier_ = std::make_unique<VolumeCopier>(VolumeCopier::Parts{*armed_.tracker, parts_.departure.volume(), *sink_,
                                                              parts_.departure.digests(), parts_.clock,
                                                              parts_.departure.pool()});
  for (;;) {
    co_await copy_round(*copier_, *sink_);
    parts_.cancellation.check();
    const Decision decision = policy_.decide(report_.rounds);
    switch (decision.verdict) {
      case Verdict::copy_again:
        continue;
      case Verdict::freeze_now:
        remark("freezing: " + decision.reason);
        enter(SourceEvent::converged);
        co_return;
      case Verdict::give_up:
        throw Error(Errc::not_converging, decision.reason +
                                              "; allow a longer --max-downtime, use --on-stall=freeze, or "
                                              "migrate at a quieter time");
    }
  }
}

/// One round. A tracker that lost its way is replaced, and everything is compared once.
Task<> SourceSession::copy_round(VolumeCopier& copier, RemoteBlockSink& sink) {
  const std::uint64_t wire_before = parts_.channel.bytes_sent();
  sink.set_round_kind(RoundKind::live);
  bool is_lost = false;
  std::string loss;
  try {
    note_round(co_await copier.copy_round(), wire_before);
  } catch (const Error& error) {
    if (error.code() != make_error_code(Errc::tracking_lost)) throw;
    is_lost = true;
    loss = error.what();
  }
  if (!is_lost) co_return;
  remark(loss + "; comparing every block with what was sent");
  armed_.tracker.reset();
  armed_ = parts_.departure.arm_tracker();
  copier.replace_tracker(*armed_.tracker);
  RoundStats compared = co_await copier.copy_differences();
  compared.bytes_left = std::max<std::uint64_t>(compared.data_bytes, kBlockBytes);  // what came meanwhile is not known
  note_round(compared, wire_before);
}

// --- standing still -----------------------------------------------------------------------------------------------

Task<> SourceSession::hand_over() {
  frozen_since_ = parts_.clock.now();
  report_.downtime.start(frozen_since_);
  co_await parts_.departure.stop();
  lap("freeze");
  co_await parts_.departure.dump();
  lap("dump");
  enter(SourceEvent::dumped);
  parts_.cancellation.check();
  co_await copy_the_rest(*copier_, *sink_);
  lap("last blocks");
  check_freeze_budget();
  parts_.channel.set_idle_timeout(freeze_budget_left());
  co_await send_checkpoint();
  lap("checkpoint");
  check_freeze_budget();
  parts_.channel.set_idle_timeout(freeze_budget_left());
  const Ready ready = co_await expect<Ready>(parts_.channel);
  lap("restore");
  if (ready.id != parts_.id)
    throw Error(Errc::protocol_violation, parts_.channel.peer_name() + " is ready for another migration than this one");
  if (ready.root != parts_.departure.digests().root())
    throw Error(Errc::digest_mismatch, "the image on " + parts_.channel.peer_name() + " is not the one that was sent");
}

Task<> SourceSession::copy_the_rest(VolumeCopier& copier, RemoteBlockSink& sink) {
  const std::uint64_t wire_before = parts_.channel.bytes_sent();
  parts_.channel.set_idle_timeout(freeze_budget_left());
  sink.set_timeouts({.send = freeze_budget_left(), .acknowledge = freeze_budget_left()});
  const auto quiet = co_await parts_.departure.volume().quiesce();
  sink.set_round_kind(RoundKind::final);
  bool is_lost = false;
  try {
    note_round(co_await copier.copy_final_round(*quiet), wire_before);
  } catch (const Error& error) {
    if (error.code() != make_error_code(Errc::tracking_lost)) throw;
    remark(std::string(error.what()) + "; comparing every block with what was sent");
    is_lost = true;
  }
  if (is_lost) {
    check_comparison_fits();
    note_round(co_await copier.copy_differences(), wire_before);
  }
  if (parts_.departure.offer().options.verifies) co_await verify(sink);
  report_.image_digest = sink.acknowledged_root();
}

/// Reading everything while frozen is right only where it is quick.
void SourceSession::check_comparison_fits() const {
  const double seconds = static_cast<double>(parts_.departure.offer().used_bytes) / kComparedBytesPerSecond;
  if (std::chrono::duration<double>(seconds) > std::chrono::duration<double>(freeze_budget_left()))
    throw Error(Errc::tracking_lost, "the write tracker missed writes, and comparing " +
                                         format_bytes(parts_.departure.offer().used_bytes) +
                                         " would keep the container frozen for longer than --freeze-timeout; "
                                         "use --tracker=rescan, or start again");
}

/// Both sides read the whole image again; the destination's digest comes with the acknowledgement.
Task<> SourceSession::verify(RemoteBlockSink& sink) {
  const Bits128 root = co_await digest_volume(parts_.departure.pool(), parts_.departure.volume());
  if (root != parts_.departure.digests().root())
    throw Error(Errc::digest_mismatch, "the source's image is not what was sent: the write tracker missed a write; "
                                       "please report this, and use --tracker=rescan");
  sink.set_round_kind(RoundKind::final_and_verify);
  co_await sink.flush();
  report_.was_verified = true;
}

Task<> SourceSession::send_checkpoint() {
  report_.checkpoint_bytes =
      co_await send_image(parts_.departure.pool(), parts_.departure.checkpoint(), parts_.channel);
}

// --- the hand-over ------------------------------------------------------------------------------------------------

/// From the entry into `committing` on, nothing but the destination's recorded word moves the container.
Task<> SourceSession::commit() {
  parts_.cancellation.check();
  check_freeze_budget();
  const bool is_stopped = co_await parts_.departure.is_stopped();
  if (!is_stopped) throw Error(Errc::checkpoint_failed, "the container did not stay frozen; something else thawed it");
  parts_.cancellation.check();

  enter(SourceEvent::ready);
  parts_.departure.fence();
  parts_.departure.journal().append({.type = RecordType::given,
                                     .migration = parts_.id,
                                     .epoch = parts_.departure.offer().epoch,
                                     .image_root = parts_.departure.digests().root(),
                                     .peer = parts_.channel.peer_name()});
  parts_.channel.set_idle_timeout(kRunningTimeout);
  const Message go = Go{parts_.id};
  co_await parts_.channel.send(go);
  const Message answer = co_await parts_.channel.receive();
  co_await follow_answer(answer);
}

/// The destination's recorded word: RUNNING or REFUSED.
Task<> SourceSession::follow_answer(const Message& answer) {
  if (const auto* running = std::get_if<Running>(&answer); running != nullptr && running->id == parts_.id) {
    lap("hand-over");
    enter(SourceEvent::running);
    co_await release();
  } else if (const auto* refused = std::get_if<Refused>(&answer); refused != nullptr && refused->id == parts_.id) {
    enter(SourceEvent::refused);
    co_await reclaim();
  } else {
    throw Error(Errc::protocol_violation,
                "after GO came " + std::string(name_of(answer)) + " from " + parts_.channel.peer_name());
  }
}

Task<> SourceSession::release() {
  report_.outcome = Outcome::cleanup_pending;   // it runs there, whatever fails here from now on
  parts_.departure.journal().append({.type = RecordType::released,
                                     .migration = parts_.id,
                                     .epoch = parts_.departure.offer().epoch,
                                     .image_root = parts_.departure.digests().root(),
                                     .peer = parts_.channel.peer_name()});
  armed_.tracker.reset();
  report_.kept_image = co_await parts_.departure.release(parts_.id);
  report_.outcome = Outcome::migrated;
  enter(SourceEvent::released);
  const Message done = Done{parts_.id};
  co_await tell(done);
}

/// For messages that only spare the other side a question.
Task<> SourceSession::tell(const Message& message) {
  try {
    co_await parts_.channel.send(message);
  } catch (const Error& error) {
    log(LogLevel::debug, std::string("event=untold reason=") + error.what());
  }
}

Task<> SourceSession::reclaim() {
  parts_.departure.journal().append({.type = RecordType::reclaimed,
                                     .migration = parts_.id,
                                     .epoch = parts_.departure.offer().epoch + 1,
                                     .peer = parts_.channel.peer_name()});
  co_await parts_.departure.reclaim();
  report_.outcome = Outcome::aborted;
  report_.failure =
      Failure{Errc::restore_failed, "the destination refused at the last moment; the container runs on the source"};
  enter(SourceEvent::reclaimed);
}

/// A destination that failed says why and hangs up; while we were sending we did not listen.
Task<Failure> SourceSession::last_word(const Failure& failure) {
  parts_.channel.set_idle_timeout(kLastWordTimeout);
  std::exception_ptr thrown;
  try {
    const Message message = co_await parts_.channel.receive();
    throw_unexpected(parts_.channel, message, "nothing");
  } catch (const PeerError&) {
    thrown = std::current_exception();
  } catch (const Error& nothing) {
    log(LogLevel::debug, std::string("event=no_last_word reason=") + nothing.what());
  }
  co_return thrown ? failure_of(thrown, Errc::copy_failed) : failure;
}

// --- when something failed ----------------------------------------------------------------------------------------

Task<> SourceSession::recover(Failure failure, bool is_peer_lost) {
  log(LogLevel::error, "session=" + to_hex(parts_.id).substr(0, 8) + " state=" + std::string(name_of(state_)) +
                           " event=failed reason=" + failure.sentence);
  if (is_terminal(state_)) co_return;
  enter(is_peer_lost ? SourceEvent::lost_peer : SourceEvent::failed);
  switch (state_) {
    case SourceState::aborted:
      if (report_.failure) co_return;  // it was reclaimed: the destination is told nothing more
      if (parts_.cancellation.is_requested())
        failure = {Errc::cancelled, "cancelled by the operator; the container goes on running on the source"};
      co_await roll_back(failure, is_peer_lost);
      break;
    case SourceState::in_doubt:
      report_.outcome = Outcome::in_doubt;
      report_.failure = Failure{Errc::in_doubt, "the container was given to " + parts_.channel.peer_name() +
                                                    ", which does not answer (" + failure.sentence +
                                                    "); it stays frozen here until the two agents have spoken again"};
      co_await resolve_doubt();
      break;
    default:  // done or cleanup_pending: it runs on the destination whatever failed here
      report_.failure = failure;
      if (report_.outcome == Outcome::migrated) report_.failure.reset();
      break;
  }
}

Task<> SourceSession::roll_back(const Failure& failure, bool is_peer_lost) {
  report_.outcome = Outcome::aborted;
  report_.failure = failure;
  std::string resume_failure;
  try {
    co_await parts_.departure.resume();
  } catch (const std::exception& error) {
    resume_failure = error.what();
  }
  if (!resume_failure.empty())
    report_.failure->sentence += "; and the container could not be thawed: " + resume_failure;
  if (is_peer_lost) co_return;
  // Should it not arrive, a destination without GO never runs the container.
  const Message abort = Abort{parts_.id, static_cast<std::uint32_t>(failure.code), failure.sentence.substr(0, 1000)};
  co_await tell(abort);
}

/// Asks until there is an answer. There is no timeout: only the destination's word, or a human, ends the doubt.
Task<> SourceSession::resolve_doubt() {
  parts_.channel.close();
  parts_.progress.report({{"event", "in_doubt"}, {"message", report_.failure->sentence}});
  Duration pause = kFirstAskAfter;
  while (state_ == SourceState::in_doubt && !parts_.cancellation.is_shutting_down() && parts_.reconnect) {
    co_await parts_.clock.sleep_for(pause);
    pause = std::min<Duration>(pause * 2, kLastAskAfter);
    std::string failure;
    try {
      co_await ask_once();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (failure.empty()) continue;
    log(LogLevel::warn, "session=" + to_hex(parts_.id).substr(0, 8) + " event=asked reason=" + failure);
    if (state_ == SourceState::in_doubt) continue;
    report_.failure = Failure{Errc::internal, failure};
    if (!is_terminal(state_)) enter(SourceEvent::failed);
  }
}

Task<> SourceSession::ask_once() {
  const auto channel = co_await parts_.reconnect(answer_);
  const Message ask = Ask{parts_.id};
  co_await channel->send(ask);
  const Message answer = co_await channel->receive();
  if (std::holds_alternative<Wait>(answer)) co_return;
  report_.failure.reset();
  co_await follow_answer(answer);
}

// --- small things -------------------------------------------------------------------------------------------------

/// The only place where the state changes.
void SourceSession::enter(SourceEvent event) {
  const auto to = next(state_, event);
  MIGRATE_ASSERT(to.has_value());
  log(LogLevel::info, "session=" + to_hex(parts_.id).substr(0, 8) + " container=" + report_.container +
                          " side=source state=" + std::string(name_of(state_)) +
                          " event=" + std::string(name_of(event)) + " to=" + std::string(name_of(*to)));
  state_ = *to;
  parts_.progress.report({{"event", "state"}, {"side", "source"}, {"state", name_of(state_)}});
}

void SourceSession::note_round(RoundStats stats, std::uint64_t wire_bytes_before) {
  stats.wire_bytes = parts_.channel.bytes_sent() - wire_bytes_before;
  report_.rounds.push_back(stats);
  json event = to_json(stats);
  event["event"] = "round";
  event["is_final"] = state_ != SourceState::copying;
  event["estimated_downtime_ms"] =
      std::chrono::duration<double, std::milli>(policy_.estimated_downtime(report_.rounds)).count();
  parts_.progress.report(event);
}

void SourceSession::remark(const std::string& text) {
  log(LogLevel::info, "session=" + to_hex(parts_.id).substr(0, 8) + " remark=" + text);
  parts_.progress.report({{"event", "remark"}, {"message", text}});
}

void SourceSession::lap(const char* part) { report_.downtime.lap(part, parts_.clock.now()); }

Duration SourceSession::freeze_budget_left() const {
  return parts_.departure.offer().options.freeze_timeout - (parts_.clock.now() - frozen_since_);
}

void SourceSession::check_freeze_budget() {
  if (freeze_budget_left() > Duration::zero()) return;
  throw Error(Errc::freeze_timed_out, "the container was frozen for longer than --freeze-timeout (" +
                                   format_duration(parts_.departure.offer().options.freeze_timeout) +
                                   "); it goes on running on the source");
}


}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/source_session.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "base/log.h"
#include "engine/volume_digest.h"
#include "migrate/base_digests.h"
#include "migrate/image_stream.h"
#include "migrate/lane_start.h"

namespace vmigrate {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr auto kAnswerTimeout = 60s;        // the destination makes an image and runs `criu check`
constexpr auto kIdleTimeout = 30s;
constexpr auto kLastWordTimeout = 3s;       // the destination throws away what it has before it says why
constexpr auto kTellAbortedFor = 20s;
constexpr auto kRefusalTimeout = 5s;
constexpr auto kTurnWait = 5s;             // a round between two waits: the destination hears of us
constexpr auto kTurnLook = 200ms;          // --timeout may be over meanwhile
constexpr int kTurnWaitsMax = 12;
constexpr double kComparedBytesPerSecond = 1e9;   // read, digested and compared: well below what bench/copy_bench shows

/// What happened, without what was to be done about it.
std::string first_clause(const std::string& sentence) { return sentence.substr(0, sentence.find("; ")); }

bool is_from_peer(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const PeerError&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

SourceSession::SourceSession(Parts parts)
    : parts_(std::move(parts)),
      place_(*parts_.place),
      rates_{options().bandwidth_max, options().switchover_bandwidth_max},
      knob_(parts_.rate_board, parts_.departure.offer().container,
            [this](const RateChange& change) { return change_rates(change); }),
      stage_(SourceState::connecting, "source", parts_.id, parts_.progress),
      settlement_({parts_.departure, stage_, report_, parts_.progress, parts_.clock, parts_.cancellation,
                   parts_.switchboard, parts_.id, parts_.channel.peer_name(),
                   [this] { return parts_.dial(agent_); }, [this] { armed_.tracker.reset(); }}) {
  const Offer& offer = parts_.departure.offer();
  report_.container = offer.container;
  report_.source = parts_.host_name;
  report_.destination = parts_.channel.peer_name();
  report_.migration = parts_.id;
  report_.volume_bytes = offer.volume_bytes;
  policy_ = policy_of(offer);
}

Task<MigrationReport> SourceSession::run() {
  started_ = parts_.clock.now();
  // After GIVEN a change of mind comes too late: nothing is interrupted any more.
  parts_.cancellation.on_request([this] {
    if (!is_given(stage_.state())) hang_up();
  });
  std::exception_ptr thrown;
  try {
    co_await run_steps();
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) {
    place_.leave();
    knob_.remove();
    const Failure failure = failure_of(thrown, Errc::copy_failed);
    has_refused_ = is_from_peer(thrown);
    co_await recover(failure, means_peer_is_lost(failure.code));
  }
  parts_.cancellation.on_request({});
  report_.total = parts_.clock.now() - started_;
  report_.wire_bytes = wire_bytes();
  co_return report_;
}

Task<> SourceSession::run_steps() {
  co_await copy_in_time();
  co_await hand_over_in_time();
  co_await commit();
}

Task<> SourceSession::copy_in_time() {
  using namespace asio::experimental::awaitable_operators;
  if (options().timeout == Duration::zero()) co_return co_await come_to_the_freeze();
  std::exception_ptr thrown;
  co_await (copy_until_closed(thrown) || act_when_time_is_over());
  if (thrown) std::rethrow_exception(thrown);
}

/// Comes to its own end, so that nothing is left half done.
Task<> SourceSession::copy_until_closed(std::exception_ptr& thrown) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  try {
    co_await come_to_the_freeze();
  } catch (...) {
    thrown = std::current_exception();
  }
}

Task<> SourceSession::come_to_the_freeze() {
  co_await introduce();
  co_await hear_base();
  co_await copy_while_running();
}

/// To be frozen it has to come to the end of its round. What the destination does not acknowledge in the time that a
/// freeze may last it would not acknowledge during the freeze either.
Task<> SourceSession::act_when_time_is_over() {
  co_await parts_.clock.sleep_until(started_ + options().timeout);
  is_time_over_ = true;
  if (options().timeout_action == TimeoutAction::freeze && stage_.state() == SourceState::copying) {
    if (copier_) copier_->end_round_early();
    co_await parts_.clock.sleep_for(options().freeze_timeout);
  }
  if (stage_.state() == SourceState::freezing) co_return;
  is_cut_by_timeout_ = true;
  hang_up();
}

Task<> SourceSession::introduce() {
  parts_.channel.set_idle_timeout(kAnswerTimeout);
  const std::string offer = to_json(parts_.departure.offer());
  const auto executor = co_await asio::this_coro::executor;
  std::optional<Switchboard::Desk> desk;   // open before the destination can know of it
  if (parts_.dialled.empty())
    desk.emplace(executor, parts_.switchboard, parts_.id, parts_.channel.certified_names());
  const Message open = Open{parts_.id, offer};
  co_await parts_.channel.send(open);
  const Accept accept = co_await expect<Accept>(parts_.channel);
  if (accept.id != parts_.id)
    throw Error(Errc::protocol_violation,
                parts_.channel.peer_name() + " accepted another migration than the one offered");
  const Answer answer = answer_from_json(accept.answer);
  if (answer.offer_checksum != checksum_of(offer))
    throw Error(Errc::protocol_violation, "the offer did not reach " + parts_.channel.peer_name() + " as it was sent");
  if (answer.base_bytes > 0 && !options().resumes)
    throw Error(Errc::protocol_violation, parts_.channel.peer_name() + " begins with a copy that was not wanted");
  report_.base_bytes = answer.base_bytes;
  agent_ = parts_.dialled.empty() ? answer.agent : parts_.dialled;
  note_waybill({});
  parts_.channel.set_idle_timeout(kIdleTimeout);
  parts_.channel.set_compression(parts_.departure.offer().options.compression, 1);
  pacer_.emplace(parts_.clock, rates_.bandwidth_max, &place_);
  co_await open_lanes(answer.streams, desk ? &*desk : nullptr);
  stage_.enter(SourceEvent::accepted);
}

Task<> SourceSession::open_lanes(std::uint32_t count, Switchboard::Desk* desk) {
  const MigrationOptions& options = parts_.departure.offer().options;
  if (count == 0)
    throw Error(Errc::protocol_violation, parts_.channel.peer_name() + " grants no connection for the blocks");
  if (count > options.streams)
    throw Error(Errc::protocol_violation, parts_.channel.peer_name() + " wants more connections than were offered");
  Channels channels;
  if (desk != nullptr) {
    const Expected expected{*desk, parts_.id, count};
    channels = co_await receive_lanes(expected, parts_.channel, parts_.clock, heard_);
    if (heard_ && report_.base_bytes == 0) throw_unexpected(parts_.channel, *heard_, "nothing");
  } else {
    const Dial dial = [this] { return parts_.dial(agent_); };
    channels = co_await dial_lanes(dial, parts_.id, count);
  }
  parts_.cancellation.check();
  lanes_ = std::make_unique<OutgoingLanes>(
      std::move(channels), OutgoingLanes::Parts{options.compression, *pacer_, parts_.instead_of_threads});
}

Task<> SourceSession::hear_base() {
  if (report_.base_bytes == 0) co_return;
  remark("resumes from " + format_bytes(report_.base_bytes) + " that were there");
  const BaseHearing parts{parts_.channel, parts_.departure.pool(), {parts_.departure.offer().volume_bytes},
                          parts_.departure.digests(), heard_};
  co_await vmigrate::hear_base(parts);
}

// --- while it runs ------------------------------------------------------------------------------------------------

Task<> SourceSession::copy_while_running() {
  const std::uint64_t trimmed = co_await parts_.departure.trim();
  if (trimmed > 0) remark("discarded " + format_bytes(trimmed) + " of unused space");
  armed_ = co_await parts_.departure.arm_tracker();
  if (policy_.throttles) watch_cpu();
  report_.tracker = armed_.tracker->name();
  if (!armed_.remark.empty()) remark(armed_.remark);
  barrier_ = std::make_unique<RemoteBarrier>(
      RemoteBarrier::Parts{parts_.channel, parts_.departure.digests(), parts_.cancellation, *lanes_});
  copier_ = std::make_unique<VolumeCopier>(VolumeCopier::Parts{
      *armed_.tracker, parts_.departure.volume(), *barrier_, parts_.departure.digests(), parts_.clock,
      parts_.departure.pool(), lanes_->copy_lanes()});
  place_.has_begun();
  for (;;) {
    if (!is_time_over_) co_await copy_round(*copier_, *barrier_);
    parts_.cancellation.check();
    if (is_cut_by_timeout_) throw Error(Errc::connection_lost, "the connection was cut");   // see really()
    const Decision decision = decide();
    switch (decision.verdict) {
      case Verdict::copy_again:
        continue;
      case Verdict::throttle:
        throttle(decision);
        continue;
      case Verdict::freeze_now:
        if (co_await must_wait_for_turn()) continue;
        remark("freezing: " + decision.reason);
        stage_.enter(SourceEvent::converged);
        co_return;
      case Verdict::give_up:
        throw Error(Errc::not_converging,
                    decision.reason + (is_time_over_ ? "; allow a longer --timeout or --freeze-timeout, or "
                                                     : "; allow a longer --max-downtime, use --on-stall=freeze, or ") +
                        "migrate at a quieter time");
    }
  }
}

Decision SourceSession::decide() const {
  if (!is_time_over_) return policy_.decide(report_.rounds);
  Decision decision = policy_.decide_at_once(report_.rounds, options().freeze_timeout);
  decision.reason = "--timeout (" + format_duration(options().timeout) + ") passed: " + decision.reason;
  return decision;
}

void SourceSession::watch_cpu() {
  cpu_limit_ = parts_.departure.watch_cpu();
  policy_.throttles = cpu_limit_.has_value();
  if (!policy_.throttles) remark("it cannot be throttled: no cgroup holds its CPU time");
}

/// The waybill first: were we killed, whoever comes next has to know what to put back.
void SourceSession::throttle(const Decision& decision) {
  const std::string percent = std::to_string(decision.throttle_percent) + " %";
  try {
    if (cpu_limit_) note_waybill(std::exchange(cpu_limit_, std::nullopt));
    parts_.departure.throttle(decision.throttle_percent);
  } catch (const Error& error) {
    policy_.throttles = false;
    return remark("it cannot be throttled by " + percent + ": " + error.what());
  }
  throttle_percent_ = report_.throttle_percent = decision.throttle_percent;
  log(LogLevel::info, stage_.label() + " event=throttle percent=" + std::to_string(decision.throttle_percent));
  parts_.progress.report({{"event", "throttle"},
                          {"percent", decision.throttle_percent},
                          {"message", "throttling: " + percent + " less CPU time; " + decision.reason}});
}

/// The operator's word, at any time until everything is sent.
Rates SourceSession::change_rates(const RateChange& change) {
  rates_ = rates_.changed_by(change);
  policy_.frozen_bytes_per_second = rates_.switchover_bandwidth_max;
  const bool stands_still = frozen_since_ != TimePoint{};
  if (pacer_) pacer_->set_rate(stands_still ? rates_.switchover_bandwidth_max : rates_.bandwidth_max);
  const std::string sentence = "from now on " + sentence_of(rates_);
  note_remark(sentence);
  json event = to_json(rates_);
  event["event"] = "rates";
  event["message"] = sentence;
  parts_.progress.report(event);
  return rates_;
}

/// One container of this host at a time is dumped and sent. Whoever has waited copies what was written meanwhile, and
/// decides anew; that round is not one of --max-rounds.
Task<bool> SourceSession::must_wait_for_turn() {
  if (is_time_over_ || place_.take_turn(parts_.clock.now()) || turn_waits_ == kTurnWaitsMax) co_return false;
  if (turn_waits_++ == 0) remark("waiting while another container is handed over or begins");
  const TimePoint deadline = parts_.clock.now() + kTurnWait;
  while (!is_time_over_ && parts_.clock.now() < deadline && !place_.take_turn(parts_.clock.now())) {
    co_await place_.wait_for_turn(parts_.clock, parts_.cancellation, kTurnLook);
    parts_.cancellation.check();
  }
  ++policy_.rounds_max;
  co_return !is_time_over_;
}

/// One round. A tracker that lost its way is replaced, and everything is compared once.
Task<> SourceSession::copy_round(VolumeCopier& copier, RemoteBarrier& barrier) {
  const std::uint64_t wire_before = wire_bytes();
  barrier.set_round_kind(RoundKind::live);
  std::string loss;
  try {
    note_round(co_await copier.copy_round(), wire_before);
  } catch (const Error& error) {
    if (error.code() != make_error_code(Errc::tracking_lost)) throw;
    loss = error.what();
  }
  if (loss.empty()) co_return;
  remark(loss + "; comparing every block with what was sent");
  armed_.tracker.reset();
  armed_ = co_await parts_.departure.arm_tracker();
  copier.replace_tracker(*armed_.tracker);
  place_.take_waited();   // in the round that came to nothing
  const std::uint64_t wire_before_comparison = wire_bytes();
  RoundStats compared = co_await copier.copy_differences();
  // What came meanwhile is not known.
  compared.bytes_left = std::max({compared.bytes_left, compared.data_bytes, std::uint64_t{kBlockBytes}});
  note_round(compared, wire_before_comparison);
}

// --- standing still -----------------------------------------------------------------------------------------------

/// However many waits the hand-over has, and however slowly each of them goes on, together they end with the budget.
Task<> SourceSession::hand_over_in_time() {
  using namespace asio::experimental::awaitable_operators;
  frozen_since_ = parts_.clock.now();
  report_.downtime.start(frozen_since_);
  const Duration budget = parts_.departure.offer().options.freeze_timeout;
  pacer_->set_rate(rates_.switchover_bandwidth_max);
  parts_.channel.set_idle_timeout(budget);
  lanes_->set_idle_timeout(budget);
  barrier_->set_timeouts({.send = budget, .acknowledge = budget});
  std::exception_ptr thrown;
  co_await (hand_over_until_closed(thrown) || close_when_budget_is_spent());
  check_freeze_budget();
  if (thrown) std::rethrow_exception(thrown);
  place_.leave();
  knob_.remove();
}

/// Comes to its own end, so that nothing is left half done.
Task<> SourceSession::hand_over_until_closed(std::exception_ptr& thrown) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  try {
    co_await hand_over();
  } catch (...) {
    thrown = std::current_exception();
  }
}

Task<> SourceSession::close_when_budget_is_spent() {
  co_await parts_.clock.sleep_for(freeze_budget_left());
  hang_up();
}

void SourceSession::hang_up() noexcept {
  place_.leave();
  if (pacer_) pacer_->stop();
  if (lanes_) lanes_->close();
  parts_.channel.close();
}

/// The destination does the same: what follows may take long, and needs no thread that waits for blocks.
void SourceSession::end_lanes() {
  lanes_wire_bytes_ = lanes_->bytes_sent();
  copier_.reset(), barrier_.reset(), lanes_.reset();
}

std::uint64_t SourceSession::wire_bytes() const {
  return parts_.channel.bytes_sent() + (lanes_ ? lanes_->bytes_sent() : lanes_wire_bytes_);
}

Task<> SourceSession::hand_over() {
  place_.stand_still(parts_.clock.now(), freeze_budget_left());
  co_await parts_.departure.stop();
  throttle_percent_ = 0;
  lap("freeze");
  co_await parts_.departure.dump();
  lap("dump");
  stage_.enter(SourceEvent::dumped);
  parts_.cancellation.check();
  place_.take_link(parts_.clock.now(), freeze_budget_left());
  co_await copy_the_rest(*copier_, *barrier_);
  end_lanes();
  lap("last blocks");
  co_await send_checkpoint();
  place_.has_sent();
  lap("checkpoint");
  const Ready ready = co_await expect<Ready>(parts_.channel);
  lap("restore");
  if (ready.id != parts_.id)
    throw Error(Errc::protocol_violation, parts_.channel.peer_name() + " is ready for another migration than this one");
  if (ready.root != parts_.departure.digests().root())
    throw Error(Errc::digest_mismatch, "the image on " + parts_.channel.peer_name() + " is not the one that was sent");
}

Task<> SourceSession::copy_the_rest(VolumeCopier& copier, RemoteBarrier& barrier) {
  const std::uint64_t wire_before = wire_bytes();
  const auto quiet = co_await parts_.departure.volume().quiesce();
  barrier.set_round_kind(RoundKind::final);
  std::string loss;
  try {
    note_round(co_await copier.copy_final_round(*quiet), wire_before);
  } catch (const Error& error) {
    if (error.code() != make_error_code(Errc::tracking_lost)) throw;
    loss = error.what();
  }
  if (!loss.empty()) {
    remark(loss + "; comparing every block with what was sent");
    check_comparison_fits();
    const std::uint64_t wire_before_comparison = wire_bytes();
    note_round(co_await copier.copy_differences(), wire_before_comparison);
  }
  if (parts_.departure.offer().options.verifies) co_await verify(barrier);
  report_.image_digest = barrier.acknowledged_root();
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
Task<> SourceSession::verify(RemoteBarrier& barrier) {
  const Bits128 root = co_await digest_volume(parts_.departure.pool(), parts_.departure.volume());
  if (root != parts_.departure.digests().root())
    throw Error(Errc::digest_mismatch, "the source's image is not what was sent: the write tracker missed a write; "
                                       "please report this, and use --tracker=rescan");
  barrier.set_round_kind(RoundKind::final_and_verify);
  co_await barrier.flush();
  report_.was_verified = true;
}

Task<> SourceSession::send_checkpoint() {
  report_.checkpoint_bytes =
      co_await send_image(parts_.departure.pool(), parts_.departure.checkpoint(), parts_.channel, *pacer_);
}

// --- the hand-over ------------------------------------------------------------------------------------------------

/// The last look before the gift: from there on nothing but the destination's recorded word moves the container.
Task<> SourceSession::commit() {
  parts_.cancellation.check();
  check_freeze_budget();
  const bool is_stopped = co_await parts_.departure.is_stopped();
  if (!is_stopped) throw Error(Errc::checkpoint_failed, "the container did not stay frozen; something else thawed it");
  parts_.cancellation.check();
  co_await settlement_.give(parts_.channel);
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
  has_refused_ = static_cast<bool>(thrown);
  co_return thrown ? failure_of(thrown, Errc::copy_failed) : failure;
}

// --- when something failed ----------------------------------------------------------------------------------------

/// Nothing was given yet: it is ours, and goes on running here.
Task<> SourceSession::recover(Failure failure, bool is_peer_lost) {
  log(LogLevel::error, stage_.label() + " event=failed reason=" + failure.sentence);
  const bool may_be_held_there = stage_.state() == SourceState::handing_over;
  stage_.enter(is_peer_lost ? SourceEvent::lost_peer : SourceEvent::failed);
  const std::string resume_failure = co_await roll_back();   // first of all: it may stand still
  const bool is_rolled_back = resume_failure.empty();
  failure = really(failure);
  if (is_peer_lost && means_peer_is_lost(failure.code)) failure = co_await last_word(failure);
  if (!is_rolled_back) failure.sentence = first_clause(failure.sentence) + "; and it does not go on: " + resume_failure;
  report_.outcome = Outcome::aborted;
  report_.failure = failure;
  if (!is_peer_lost) co_await tell_aborted(failure);
  const bool can_be_asked = !parts_.departure.offer().agent.empty() || agent_.empty();
  if (is_rolled_back && can_be_asked) parts_.departure.forget();
  bool is_known_there = !may_be_held_there;
  if (!is_known_there) is_known_there = co_await is_refused(is_peer_lost);
  if (is_rolled_back && is_known_there) parts_.departure.forget();
}

/// A connection that we cut ourselves is not what failed.
Failure SourceSession::really(const Failure& failure) const {
  if (parts_.cancellation.is_requested())
    return {Errc::cancelled, "cancelled by the operator; the container goes on running on the source"};
  if (is_cut_by_timeout_)
    return {Errc::not_converging, "--timeout (" + format_duration(options().timeout) +
                                      ") passed before the container was frozen; it goes on running on the source"};
  return failure;
}

/// A destination that holds it prepared and does not hear that it is over would hold it for ever. It can ask if we have
/// an agent; if not, the waybill stays for whoever comes after us.
Task<bool> SourceSession::is_refused(bool is_peer_lost) {
  if (has_refused_) co_return true;
  bool is_heard = false;
  if (!is_peer_lost) is_heard = co_await hears_refusal();
  if (is_heard || agent_.empty()) co_return is_heard;
  co_return co_await settlement_.tell_aborted(kTellAbortedFor);
}

/// The answer to Abort; what was on its way before is passed over.
Task<bool> SourceSession::hears_refusal() {
  const TimePoint deadline = parts_.clock.now() + kRefusalTimeout;
  try {
    while (parts_.clock.now() < deadline) {
      parts_.channel.set_idle_timeout(deadline - parts_.clock.now());
      const Message answer = co_await parts_.channel.receive();
      if (std::holds_alternative<Refused>(answer) || std::holds_alternative<Refuse>(answer)) co_return true;
    }
  } catch (const Error& error) {
    log(LogLevel::debug, stage_.label() + " event=refusal_unheard reason=" + error.what());
  }
  co_return false;
}

/// Why the container could not be thawed; empty if it could.
Task<std::string> SourceSession::roll_back() {
  std::string resume_failure;
  const bool has_stood = frozen_since_ != TimePoint{};
  if (has_stood) lap("failed step");
  try {
    co_await parts_.departure.resume();
  } catch (const std::exception& error) {
    resume_failure = error.what();
  }
  if (has_stood) lap("roll back");
  co_return resume_failure;
}

/// Should it not arrive, a destination without GO never runs the container.
Task<> SourceSession::tell_aborted(const Failure& failure) {
  const Message abort = Abort{parts_.id, static_cast<std::uint32_t>(failure.code), failure.sentence.substr(0, 1000)};
  co_await tell(abort);
}

/// Without an answer to hope for.
Task<> SourceSession::tell(const Message& message) {
  try {
    co_await parts_.channel.send(message);
  } catch (const Error& error) {
    log(LogLevel::debug, stage_.label() + " event=untold reason=" + error.what());
  }
}

// --- small things -------------------------------------------------------------------------------------------------

void SourceSession::note_waybill(std::optional<CpuLimit> cpu_limit) {
  parts_.departure.note({.side = Side::source,
                         .migration = parts_.id,
                         .peer = parts_.channel.peer_name(),
                         .peer_agent = agent_,
                         .offer = parts_.departure.offer(),
                         .cpu_limit = std::move(cpu_limit)});
}

void SourceSession::note_round(RoundStats stats, std::uint64_t wire_bytes_before) {
  stats.wire_bytes = wire_bytes() - wire_bytes_before;
  stats.throttle_percent = throttle_percent_;
  stats.compares = stats.compares || (report_.base_bytes > 0 && report_.rounds.empty());
  const Duration waited = place_.take_waited();
  stats.has_waited = waited > Duration::zero();
  stats.duration -= std::min(stats.duration, waited);   // that says nothing of the link
  report_.rounds.push_back(stats);
  json event = to_json(stats);
  event["event"] = "round";
  event["is_final"] = stage_.state() != SourceState::copying;
  event["estimated_downtime_ms"] =
      std::chrono::duration<double, std::milli>(policy_.estimated_downtime(report_.rounds)).count();
  parts_.progress.report(event);
}

void SourceSession::note_remark(const std::string& text) {
  log(LogLevel::info, stage_.label() + " remark=" + text);
  report_.remarks.push_back(text);
  if (report_.remarks.size() > kRemarksMax) report_.remarks.pop_front();
}

void SourceSession::remark(const std::string& text) {
  note_remark(text);
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

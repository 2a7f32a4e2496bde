// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/destination_session.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "base/log.h"
#include "engine/volume_digest.h"
#include "migrate/base_digests.h"
#include "migrate/image_stream.h"
#include "migrate/lane_start.h"
#include "migrate/remote_barrier.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kCheckpointTimeout = 1h;   // the source stands still then, and gives up long before
constexpr auto kLanesTimeout = 8760h;     // while others, with a timeout of their own, carry a round's blocks

/// Whether the source is alive, and ended it by itself.
bool is_hang_up(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const HangUp&) {
    return true;
  } catch (...) {
    return false;
  }
}

/// Does not throw.
Task<> receive_into(Channel& channel, std::optional<Message>& message, std::exception_ptr& failure) {
  try {
    message = co_await channel.receive();
  } catch (...) {
    failure = std::current_exception();
  }
}

}  // namespace

Task<ArrivalOutcome> DestinationSession::run(Open open) {
  id_ = open.id;
  stage_.emplace(DestinationState::checking, "destination", id_, parts_.progress);
  parts_.cancellation.on_request([this] {
    if (is_terminal(stage_->state())) return;
    parts_.channel.close();
    if (lanes_) lanes_->close();
  });
  std::exception_ptr thrown;
  try {
    co_await run_steps(open);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) {
    const Failure failure = failure_of(thrown, Errc::copy_failed);
    co_await recover(failure, is_hang_up(thrown));
  }
  parts_.cancellation.on_request({});
  outcome_.state = stage_->state();
  co_return std::move(outcome_);
}

Task<> DestinationSession::run_steps(const Open& open) {
  co_await judge(open);
  if (outcome_.offer.is_dry_run) {
    co_await answer_link_probes();
    co_return;
  }
  co_await receive_everything();
  co_await restore();
  co_await take_over();
}

Task<> DestinationSession::judge(const Open& open) {
  outcome_.offer = offer_from_json(open.offer);
  streams_ = outcome_.offer.is_dry_run ? 0 : outcome_.offer.options.streams;
  if (streams_ == 0 && !outcome_.offer.is_dry_run)
    throw Error(Errc::protocol_violation, parts_.channel.peer_name() + " offers no connection for the blocks");
  Answer answer = co_await parts_.host.check(outcome_.offer);
  answer.agent = parts_.agent_address;
  answer.offer_checksum = checksum_of(open.offer);
  agent_ = parts_.dialled.empty() ? outcome_.offer.agent : parts_.dialled;
  if (!outcome_.offer.is_dry_run) co_await make_room();
  if (!outcome_.offer.is_dry_run) answer.base_bytes = base_ ? used_bytes(*base_) : 0;
  const auto executor = co_await asio::this_coro::executor;
  answer.streams = streams_;
  if (answer.streams > 0 && parts_.dialled.empty())
    desk_.emplace(executor, parts_.switchboard, id_, parts_.channel.certified_names());
  const Message accept = Accept{open.id, to_json(answer)};
  co_await parts_.channel.send(accept);
  stage_->enter(DestinationEvent::accepted);
}

Task<> DestinationSession::make_room() {
  const Waybill waybill{.side = Side::destination,
                        .migration = id_,
                        .peer = parts_.channel.peer_name(),
                        .peer_agent = agent_,
                        .offer = outcome_.offer};
  arrival_ = co_await parts_.host.prepare(waybill);
  base_ = arrival_->base();
}

/// Dry run: counts filler until the source has measured the link.
Task<> DestinationSession::answer_link_probes() {
  std::uint64_t bytes = 0;
  for (;;) {
    const Message message = co_await parts_.channel.receive();
    if (const auto* probe = std::get_if<LinkProbe>(&message)) {
      bytes += probe->bytes.size();
    } else if (std::holds_alternative<LinkProbeEnd>(message)) {
      const Message ack = LinkProbeAck{bytes};
      co_await parts_.channel.send(ack);
    } else if (std::holds_alternative<Done>(message)) {
      stage_->enter(DestinationEvent::dismissed);
      co_return;
    } else {
      throw_unexpected(parts_.channel, message, "LinkProbe");
    }
  }
}

// --- receiving ----------------------------------------------------------------------------------------------------

Task<> DestinationSession::open_lanes() {
  Channels channels;
  if (desk_) {
    const Expected expected{*desk_, id_, streams_};
    channels = co_await receive_lanes(expected, parts_.channel, parts_.clock, heard_);
    desk_.reset();
  } else {
    const Dial dial = [this] { return parts_.dial(agent_); };
    channels = co_await dial_lanes(dial, id_, streams_);
  }
  const auto executor = co_await asio::this_coro::executor;
  lanes_ = std::make_unique<IncomingLanes>(
      executor, std::move(channels),
      IncomingLanes::Parts{arrival_->sink(), arrival_->digests(), VolumeGeometry{outcome_.offer.volume_bytes},
                           parts_.clock, parts_.instead_of_threads});
}

/// A base without data is none: the source was told that nothing follows.
Task<> DestinationSession::tell_base() {
  const auto base = std::exchange(base_, nullptr);
  if (!base || used_bytes(*base) == 0) co_return;
  const BaseTelling parts{parts_.channel, parts_.clock, parts_.pool, *base, arrival_->digests()};
  co_await vmigrate::tell_base(parts);
}

Task<> DestinationSession::receive_everything() {
  co_await open_lanes();
  co_await tell_base();
  parts_.channel.set_idle_timeout(kLanesTimeout);
  bool is_complete = false;
  while (!is_complete) {
    const Message message = co_await next_message();
    is_complete = co_await take(message);
  }
  stage_->enter(DestinationEvent::verified);
}

/// A connection for blocks that fails ends it at once, unless the peer hung up: then the first one has a moment to say
/// why.
Task<Message> DestinationSession::next_message() {
  using namespace asio::experimental::awaitable_operators;
  if (heard_) co_return *std::exchange(heard_, std::nullopt);
  if (!lanes_) co_return co_await parts_.channel.receive();
  std::optional<Message> message;
  std::exception_ptr failure;
  co_await (receive_into(parts_.channel, message, failure) || lanes_->trouble());
  lanes_->check();
  if (failure) std::rethrow_exception(failure);
  co_return std::move(*message);
}

/// One message of the copy. True when it was the verified Manifest, the last one.
Task<bool> DestinationSession::take(const Message& message) {
  if (const auto* end = std::get_if<RoundEnd>(&message)) {
    co_await end_round(*end);
  } else if (const auto* chunk = std::get_if<ImageChunk>(&message)) {
    co_await store_chunk(parts_.pool, *chunk, arrival_->checkpoint());
  } else if (const auto* manifest = std::get_if<Manifest>(&message)) {
    if (!has_final_round_) throw Error(Errc::protocol_violation, "the checkpoint came before the final round");
    co_await verify_image(parts_.pool, *manifest, arrival_->checkpoint());
    co_return true;
  } else {
    throw_unexpected(parts_.channel, message, "RoundEnd");
  }
  co_return false;
}

/// Flushes before it acknowledges: what is acknowledged survives a power cut.
Task<> DestinationSession::end_round(const RoundEnd& end) {
  if (!lanes_)
    throw Error(Errc::protocol_violation, parts_.channel.peer_name() + " ended a round after the final one");
  co_await lanes_->reach(end.round);
  if (end.kind != static_cast<std::uint8_t>(RoundKind::settle)) co_await arrival_->sink().flush();
  Bits128 root = arrival_->digests().root();
  if (end.kind == static_cast<std::uint8_t>(RoundKind::final_and_verify)) root = co_await arrival_->digest_again();
  if (root != end.root)
    throw Error(Errc::digest_mismatch,
                "the copy has digest " + to_hex(root) + " where the source has " + to_hex(end.root));
  parts_.progress.report({{"event", "received_round"}, {"round", end.round}});
  const Message ack = RoundAck{end.round, root};
  co_await parts_.channel.send(ack);
  has_final_round_ = is_last_round(end);
  if (has_final_round_) co_await end_lanes();
}

bool DestinationSession::is_last_round(const RoundEnd& end) const {
  if (outcome_.offer.options.verifies) return end.kind == static_cast<std::uint8_t>(RoundKind::final_and_verify);
  return end.kind == static_cast<std::uint8_t>(RoundKind::final);
}

Task<> DestinationSession::end_lanes() {
  if (!lanes_) co_return;
  co_await lanes_->end();
  lanes_.reset();
  parts_.channel.set_idle_timeout(kCheckpointTimeout);
}

// --- the hand-over ------------------------------------------------------------------------------------------------

/// PREPARED is recorded before READY is sent: from then on only the source's word or a recorded refusal ends it.
Task<> DestinationSession::restore() {
  co_await arrival_->restore();
  record_prepared();
  stage_->enter(DestinationEvent::restored);
}

/// A PREPARED that failed may be on the disk all the same: it is taken back before anything is thrown away. If that
/// fails too everything stays, and whoever finds the waybill goes by what the disk says.
void DestinationSession::record_prepared() {
  try {
    record(RecordType::prepared);
    return;
  } catch (const std::exception& failure) {
    log(LogLevel::error, stage_->label() + " event=unrecorded reason=" + failure.what());
    is_undecided_ = true;
  }
  record(RecordType::refused);
  is_undecided_ = false;
  throw Error(Errc::internal, "the journal failed after the restore; the container goes on running on the source");
}

void DestinationSession::record(RecordType type) {
  Journal& journal = arrival_->journal();
  if (!journal.is_sound()) journal.mend();
  journal.append({.type = type,
                  .migration = id_,
                  .epoch = outcome_.offer.epoch,
                  .image_root = arrival_->digests().root(),
                  .peer = parts_.channel.peer_name()});
}

Task<> DestinationSession::take_over() {
  const Dial dial = [this] { return parts_.dial(agent_); };
  DestinationSettlement settlement({*arrival_, *stage_, parts_.clock, parts_.cancellation, parts_.switchboard, id_,
                                    outcome_.offer.container, outcome_.offer.epoch, arrival_->digests().root(),
                                    parts_.channel.peer_name(), dial,
                                    leftovers_after(Errc::cancelled, true)});
  co_await settlement.take_over(parts_.channel);
  outcome_.failure = settlement.failure();
}

// --- when something failed ----------------------------------------------------------------------------------------

/// Nothing was prepared yet: whatever came is thrown away, or kept for the next attempt.
Task<> DestinationSession::recover(Failure failure, bool has_hung_up) {
  log(LogLevel::error, stage_->label() + " event=failed reason=" + failure.sentence);
  if (is_terminal(stage_->state())) co_return;
  const bool is_peer_lost = means_peer_is_lost(failure.code);
  if (parts_.cancellation.is_requested()) failure = {Errc::cancelled, "cancelled by the operator on the destination"};
  outcome_.failure = failure;
  stage_->enter(is_peer_lost ? DestinationEvent::lost_peer : DestinationEvent::failed);
  co_await discard(leftovers_after(failure.code, has_hung_up));
  if (is_undecided_) {
    parts_.channel.close();   // it is not refused until that is recorded
    co_return;
  }
  const Message refuse = Refuse{static_cast<std::uint32_t>(failure.code), failure.sentence.substr(0, 1000)};
  if (!is_peer_lost) co_await tell(refuse);
}

/// A copy that is wrong, or in the way, helps nobody, nor one on a disk that failed: the page cache may show what never
/// got there. A source that hung up was cancelled.
Leftovers DestinationSession::leftovers_after(Errc code, bool has_hung_up) const {
  const bool is_the_disks = code == Errc::copy_failed || code == Errc::disk_full || code == Errc::no_space;
  if (is_the_disks || code == Errc::digest_mismatch) return Leftovers::nothing;
  const bool is_cut = (code == Errc::connection_lost && !has_hung_up) || code == Errc::timed_out;
  const bool is_kept = is_cut || outcome_.offer.options.keeps_partial || parts_.cancellation.is_shutting_down();
  return is_kept ? Leftovers::partial_copy : Leftovers::base;
}

Task<> DestinationSession::discard(Leftovers leftovers) {
  co_await end_lanes();
  if (!arrival_) co_return;
  if (is_undecided_) arrival_->leave_as_it_is();
  else co_await arrival_->discard(leftovers);
}

/// The other side may be gone: it will ask.
Task<> DestinationSession::tell(const Message& message) {
  try {
    co_await parts_.channel.send(message);
  } catch (const Error& error) {
    log(LogLevel::info, "session=" + to_hex(id_).substr(0, 8) + " event=untold reason=" + error.what());
  }
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/model/variants.h"

namespace vmigrate::model {
namespace {

Rules rules_of(Variant variant) {
  Rules rules;
  switch (variant) {
    case Variant::restore_and_run_then_acknowledge:
      row_in(rules.destination, DestinationState::restoring, DestinationEvent::restored).to = DestinationState::owning;
      rules.recorded_when_restored = RecordType::owned;
      break;
    case Variant::resume_on_lost_reply:
      row_in(rules.source, SourceState::committing, SourceEvent::lost_peer).to = SourceState::aborted;
      rules.before_go = GivenBeforeGo::not_at_all;
      break;
    case Variant::destroy_once_go_is_said:
      row_in(rules.source, SourceState::committing, SourceEvent::lost_peer).to = SourceState::releasing;
      break;
    case Variant::thaw_on_timeout_after_go:
      row_in(rules.source, SourceState::committing, SourceEvent::lost_peer).to = SourceState::aborted;
      break;
    case Variant::go_before_given_is_synced:
      rules.before_go = GivenBeforeGo::written;
      break;
    case Variant::thaw_after_failed_sync:
      row_in(rules.source, SourceState::committing, SourceEvent::unrecorded).to = SourceState::aborted;
      break;
    case Variant::unfenced_take_back:
      rules.operator_is = Operator::unfenced_take_back;
      break;
    case Variant::refuse_without_recording:
      rules.records_refusals = false;
      break;
    case Variant::blind_take_back:
      rules.operator_is = Operator::blind_take_back;
      break;
    case Variant::blind_accept:
      rules.operator_is = Operator::blind_accept;
      break;
    case Variant::act_on_the_page_cache:
      rules.makes_durable_what_it_reads = false;
      break;
    case Variant::heed_an_old_go:
      rules.operator_is = Operator::careful;
      rules.forgets_old_connections = false;
      break;
    case Variant::go_while_taking_back:
      rules.operator_is = Operator::careful;
      rules.keeps_go_while_reclaiming = false;
      break;
    case Variant::thaw_after_failed_take_back:
      rules.operator_is = Operator::careful;
      rules.waits_for_reclaimed = false;
      break;
  }
  return rules;
}

}  // namespace

std::vector<WrongRules> all_variants() {
  std::vector<WrongRules> all;
  const auto add = [&](Variant variant, std::string_view name, Violation harm) {
    all.push_back({variant, name, harm, rules_of(variant)});
  };
  add(Variant::restore_and_run_then_acknowledge, "restore and run, then acknowledge", Violation::two_run);
  add(Variant::resume_on_lost_reply, "the source resumes when the reply is lost", Violation::two_run);
  add(Variant::destroy_once_go_is_said, "destroy our copy once GO is said", Violation::no_copy_left);
  add(Variant::thaw_on_timeout_after_go, "thaw on a timeout after GO", Violation::two_run);
  add(Variant::go_before_given_is_synced, "GO before GIVEN is synced", Violation::two_run);
  add(Variant::thaw_after_failed_sync, "thaw after GIVEN could not be synced", Violation::two_run);
  add(Variant::unfenced_take_back, "take back from a peer that is not fenced", Violation::two_run);
  add(Variant::refuse_without_recording, "refuse without recording it", Violation::two_run);
  add(Variant::blind_take_back, "take back without reading the peer's journal", Violation::stale_copy_runs);
  add(Variant::blind_accept, "accept without reading the peer's journal", Violation::stale_copy_runs);
  add(Variant::act_on_the_page_cache, "act on what only the page cache has", Violation::two_run);
  add(Variant::heed_an_old_go, "heed a GO from before the agent was stopped", Violation::two_run);
  add(Variant::go_while_taking_back, "answer GO while it is taken back", Violation::two_run);
  add(Variant::thaw_after_failed_take_back, "thaw although a take-back could not be synced", Violation::two_run);
  return all;
}

}  // namespace vmigrate::model

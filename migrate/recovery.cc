// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/recovery.h"

#include "base/log.h"
#include "migrate/destination_settlement.h"
#include "migrate/source_settlement.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kTellAbortedFor = 3s;

std::optional<RecordType> newest_type(const Journal& journal, MigrationId migration) {
  const auto newest = journal.newest_of(migration);
  if (!newest) return std::nullopt;
  return newest->type;
}

/// It could not be removed, and another migration has been there since.
bool is_outdated(const Journal& journal, MigrationId migration) {
  return journal.newest_of(migration) && journal.newest()->migration != migration;
}

}  // namespace

std::vector<Waybill> Recovery::unattended() const {
  std::vector<Waybill> waybills = parts_.waybills.list();
  std::erase_if(waybills, [this](const Waybill& waybill) { return attended_.contains(waybill.offer.container); });
  return waybills;
}

Task<> Recovery::end(Waybill waybill) {
  const std::string container = waybill.offer.container;
  if (!attended_.insert(container).second) co_return;
  try {
    if (is_outdated(Journal(parts_.journals, container, parts_.disk), waybill.migration))
      parts_.waybills.remove(container);
    else if (waybill.side == Side::source) co_await end_departure(waybill);
    else co_await end_arrival(waybill);
  } catch (const Error& error) {
    const bool is_busy = error.code_or(Errc::internal) == Errc::busy;   // its session lives
    log(is_busy ? LogLevel::debug : LogLevel::error,
        "event=recovery_failed container=" + container + " reason=" + error.what());
  } catch (const std::exception& error) {
    log(LogLevel::error, "event=recovery_failed container=" + container + " reason=" + error.what());
  }
  attended_.erase(container);
}

Task<> Recovery::end_departure(const Waybill& waybill) {
  const auto departure = co_await parts_.adopt_departure(waybill);
  SourceStage stage(source_after_crash(newest_type(departure->journal(), waybill.migration)), "source",
                    waybill.migration, parts_.progress);
  log(LogLevel::warn, stage.label() + " event=recovering container=" + waybill.offer.container);
  MigrationReport report;
  const Dial dial = [this, &waybill] { return parts_.dial(waybill.peer_agent); };
  SourceSettlement settlement({*departure, stage, report, parts_.progress, parts_.clock, parts_.cancellation,
                               parts_.switchboard, waybill.migration, waybill.peer, dial, {}});
  if (!is_terminal(stage.state())) {
    co_await settlement.go_on();
  } else {
    co_await departure->resume();
    // It may ask us as well, if it knows where. If not, the waybill stays until it has heard it from us.
    const bool can_be_asked = !waybill.offer.agent.empty() || waybill.peer_agent.empty();
    if (can_be_asked) departure->forget();
    const bool is_told = co_await settlement.tell_aborted(kTellAbortedFor);
    if (is_told) departure->forget();
  }
  log(LogLevel::warn, stage.label() + " event=recovered container=" + waybill.offer.container);
}

Task<> Recovery::end_arrival(const Waybill& waybill) {
  const auto arrival = co_await parts_.arrivals.adopt(waybill);
  const auto newest = arrival->journal().newest_of(waybill.migration);
  DestinationStage stage(destination_after_crash(newest_type(arrival->journal(), waybill.migration)), "destination",
                         waybill.migration, parts_.progress);
  log(LogLevel::warn, stage.label() + " event=recovering container=" + waybill.offer.container);
  const Dial dial = [this, &waybill] { return parts_.dial(waybill.peer_agent); };
  DestinationSettlement settlement({*arrival, stage, parts_.clock, parts_.cancellation, parts_.switchboard,
                                    waybill.migration, waybill.offer.container, waybill.offer.epoch,
                                    newest ? newest->image_root : Bits128{}, waybill.peer, dial,
                                    Leftovers::partial_copy});
  if (is_terminal(stage.state())) co_await arrival->discard(Leftovers::partial_copy);
  else co_await settlement.go_on();
  log(LogLevel::warn, stage.label() + " event=recovered container=" + waybill.offer.container);
}

}  // namespace vmigrate

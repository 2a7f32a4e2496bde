// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/human_word.h"

#include "base/error.h"

namespace vmigrate {
namespace {

void require_own(const Journal& journal, const Waybill& waybill, RecordType type) {
  const auto newest = journal.newest_of(waybill.migration);
  if (newest && newest->type == type) return;
  throw Error(Errc::usage, "the newest record about container " + waybill.offer.container + " here is " +
                               (newest ? std::string(name_of(newest->type)) : "none") + ", not " +
                               std::string(name_of(type)) + ": there is nothing to decide that way");
}

void require_peer(const std::optional<Record>& peer, const Waybill& waybill, std::initializer_list<RecordType> proofs) {
  for (const RecordType type : proofs)
    if (peer && peer->type == type) return;
  throw Error(Errc::usage, "the journal of " + waybill.peer + " has " +
                               (peer ? std::string(name_of(peer->type)) : "nothing") + " about this migration of " +
                               waybill.offer.container + ", which does not prove that no write would be lost");
}

Record decision(const Waybill& waybill, RecordType type, std::uint64_t epoch, const Journal& journal) {
  return {.type = type,
          .migration = waybill.migration,
          .epoch = epoch,
          .image_root = journal.newest_of(waybill.migration)->image_root,
          .peer = "a human, for " + waybill.peer};
}

}  // namespace

Task<> take_back(Departure& departure, const Waybill& waybill, std::optional<Record> peer) {
  Journal& journal = departure.journal();
  require_own(journal, waybill, RecordType::given);
  require_peer(peer, waybill, {RecordType::prepared, RecordType::refused});
  journal.append(decision(waybill, RecordType::reclaimed, waybill.offer.epoch + 1, journal));
  co_await departure.reclaim();
}

Task<> accept(Arrival& arrival, const Waybill& waybill, std::optional<Record> peer) {
  Journal& journal = arrival.journal();
  require_own(journal, waybill, RecordType::prepared);
  require_peer(peer, waybill, {RecordType::given});
  journal.append(decision(waybill, RecordType::owned, waybill.offer.epoch, journal));
  co_await arrival.run();
  arrival.announce();
  arrival.close_journal();
}

Task<> discard_mine(Arrival& arrival, const Waybill& waybill) {
  Journal& journal = arrival.journal();
  require_own(journal, waybill, RecordType::prepared);
  journal.append(decision(waybill, RecordType::refused, waybill.offer.epoch, journal));
  co_await arrival.discard(Leftovers::base);
}

}  // namespace vmigrate

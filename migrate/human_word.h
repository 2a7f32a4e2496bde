// SPDX-License-Identifier: GPL-2.0-or-later
// A human's word in place of a host that never comes back: `vmigrate resolve`.
#pragma once

#include <optional>

#include "migrate/arrival.h"
#include "migrate/departure.h"

namespace vmigrate {

enum class HumanWord {
  take_back,     ///< source, GIVEN: it never ran there and never will; it runs here again
  accept,        ///< destination, PREPARED: it was given to us; it runs here
  discard_mine,  ///< destination, PREPARED: it will never run here
};

/// The other host has to be stopped before its journal is read, and to stay so until this is done; when it comes back
/// it asks, and hears what was decided. `peer` is its newest record about this migration. Nothing is changed unless
/// that proves that no acknowledged write is lost: taking back needs a peer that was prepared or has refused, accepting
/// one that has given. Throws Error(Errc::usage) otherwise, and for a word that does not fit this side's own record.
Task<> take_back(Departure& departure, const Waybill& waybill, std::optional<Record> peer);
Task<> accept(Arrival& arrival, const Waybill& waybill, std::optional<Record> peer);
Task<> discard_mine(Arrival& arrival, const Waybill& waybill);

}  // namespace vmigrate

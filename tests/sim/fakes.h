// SPDX-License-Identifier: GPL-2.0-or-later
// Departure and Arrival over a simulated host: as migrate/local_departure.cc and migrate/local_arrival.cc, with a
// container, a CRIU and a disk that are made of memory. Journal, waybills, digests and checkpoint files are real.
#pragma once

#include "migrate/arrival.h"
#include "migrate/departure.h"

namespace vmigrate::sim {

class Process;

/// Throws Error if the container does not run here, or may not be offered.
Task<std::unique_ptr<Departure>> find_departure(Process& process, Request request);
/// What a dead process left.
Task<std::unique_ptr<Departure>> adopt_departure(Process& process, const Waybill& waybill);

class SimArrivalHost final : public ArrivalHost {
 public:
  explicit SimArrivalHost(Process& process) : process_(process) {}
  Task<Answer> check(const Offer& offer) override;
  Task<std::unique_ptr<Arrival>> prepare(const Waybill& waybill) override;
  Task<std::unique_ptr<Arrival>> adopt(const Waybill& waybill) override;

 private:
  Process& process_;
};

}  // namespace vmigrate::sim

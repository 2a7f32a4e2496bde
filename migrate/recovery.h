// SPDX-License-Identifier: GPL-2.0-or-later
// The end of migrations whose agent, or command, died in the middle.
#pragma once

#include <set>

#include "migrate/arrival.h"
#include "migrate/cancellation.h"
#include "migrate/departure.h"
#include "migrate/progress.h"
#include "migrate/switchboard.h"

namespace vmigrate {

/// Goes from waybill to waybill and ends what it speaks of by the rules of docs/states.md: the newest record decides,
/// and where that is not enough the other side is asked until it answers. On one executor.
class Recovery {
 public:
  struct Parts {
    WaybillDir waybills;
    std::filesystem::path journals;
    Disk& disk;                    ///< that has them
    /// Throws Error(Errc::busy) when somebody is at it.
    std::function<Task<std::unique_ptr<Departure>>(const Waybill&)> adopt_departure;
    ArrivalHost& arrivals;
    /// Dials the agent at an address, Hello included. Throws Error when nobody answers, or when it is empty.
    std::function<Task<std::unique_ptr<Channel>>(std::string)> dial;
    Clock& clock;
    Progress& progress;
    Cancellation& cancellation;    ///< shut down: what is undecided stays as it is, for the next agent
    Switchboard& switchboard;
  };
  explicit Recovery(Parts parts) : parts_(std::move(parts)) {}

  /// The waybills that nobody works on. A live session's are among them; adopting those fails with Errc::busy.
  std::vector<Waybill> unattended() const;
  /// Ends one migration; returns when it is at its end, or when this process is to end. Never throws: what fails is
  /// logged, and tried again by the next call.
  Task<> end(Waybill waybill);
  bool is_idle() const { return attended_.empty(); }

 private:
  Task<> end_departure(const Waybill& waybill);
  Task<> end_arrival(const Waybill& waybill);

  Parts parts_;
  std::set<std::string> attended_;   ///< containers
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// An Arrival made of the real parts: kernel, CRIU and disk of this host.
#pragma once

#include "migrate/arrival.h"
#include "migrate/local_departure.h"

namespace vmigrate {

class LocalArrivalHost final : public ArrivalHost {
 public:
  explicit LocalArrivalHost(LocalHost host) : host_(host) {}

  Task<Answer> check(const Offer& offer) override;
  Task<std::unique_ptr<Arrival>> prepare(const Waybill& waybill) override;
  Task<std::unique_ptr<Arrival>> adopt(const Waybill& waybill) override;

 private:
  LocalHost host_;
};

}  // namespace vmigrate

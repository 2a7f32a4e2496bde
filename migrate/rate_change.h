// SPDX-License-Identifier: GPL-2.0-or-later
// What an operator changes of a migration that is under way: how fast it may send.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace vmigrate {

/// In Tune. At least one of the two is there.
struct RateChange {
  std::string container;
  std::optional<std::uint64_t> bandwidth_max = {};              ///< none: as it is
  std::optional<std::uint64_t> switchover_bandwidth_max = {};   ///< the same
};

/// Parsing throws Error(Errc::protocol_violation).
std::string to_json(const RateChange& change);
RateChange rate_change_from_json(const std::string& text);

/// How fast one migration may send, in bytes per second; 0: no limit.
struct Rates {
  std::uint64_t bandwidth_max = 0;              ///< while the container runs
  std::uint64_t switchover_bandwidth_max = 0;   ///< while it stands still

  Rates changed_by(const RateChange& change) const;
};

/// In the answer to Tune and in the event "rates".
nlohmann::json to_json(const Rates& rates);
/// What is missing or wrong there counts as 0.
Rates rates_in(const nlohmann::json& document);
/// "at most 10.0 MiB/s while it runs, no limit while it stands still"
std::string sentence_of(const Rates& rates);

}  // namespace vmigrate

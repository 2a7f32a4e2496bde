// SPDX-License-Identifier: GPL-2.0-or-later
// What one migration did: rounds, the downtime in parts that add up, the outcome.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "engine/convergence.h"
#include "migrate/failure.h"

namespace vmigrate {

enum class Outcome {
  migrated,          ///< it runs on the destination, nothing is left at the source
  cleanup_pending,   ///< it runs on the destination; something of the source's copy is left
  aborted,           ///< it runs on the source as if nothing had been
  in_doubt,          ///< it runs nowhere until the two agents have spoken again
  predicted,         ///< a dry run
};
std::string_view name_of(Outcome outcome) noexcept;

/// The time in which nothing of the container ran, cut where one part ends and the next begins.
struct DowntimePart {
  std::string name;
  Duration duration{};
};

/// A stopwatch whose laps leave no gap, so that the parts are the whole.
class Downtime {
 public:
  void start(TimePoint now) {
    parts_.clear();
    last_ = now;
  }
  /// Ends the part that began at start() or at the last lap().
  void lap(std::string name, TimePoint now) {
    parts_.push_back({std::move(name), now - last_});
    last_ = now;
  }
  const std::vector<DowntimePart>& parts() const { return parts_; }
  Duration total() const;

 private:
  TimePoint last_{};
  std::vector<DowntimePart> parts_;
};

inline constexpr std::size_t kRemarksMax = 32;   ///< the report has to fit into a message

struct MigrationReport {
  Outcome outcome = Outcome::aborted;
  std::optional<Failure> failure;
  std::string container;
  std::string source;
  std::string destination;
  Bits128 migration;
  std::string tracker;
  std::uint64_t volume_bytes = 0;
  std::uint64_t checkpoint_bytes = 0;
  std::uint64_t base_bytes = 0;          ///< data of an earlier copy on the destination that it began with
  std::vector<RoundStats> rounds;
  Downtime downtime;
  Duration total{};
  std::uint64_t wire_bytes = 0;
  unsigned throttle_percent = 0;         ///< of the last step, undone since
  std::optional<Bits128> image_digest;   ///< of the volume as frozen, the same on both sides
  bool was_verified = false;             ///< both sides read the whole image again while frozen
  std::string kept_image;                ///< the source's copy, renamed
  std::deque<std::string> remarks;       ///< sentences for people, the latest kRemarksMax

  /// What rounds after the first had to look at: blocks written meanwhile, each counted once in a round.
  std::uint64_t dirtied_bytes() const;
  /// What they sent of it as data.
  std::uint64_t resent_bytes() const;
};

/// Fields of a document from elsewhere: what is missing or of another type counts as empty, 0 or false.
std::string text_in(const nlohmann::json& document, const char* key);
double number_in(const nlohmann::json& document, const char* key);
bool flag_in(const nlohmann::json& document, const char* key);
std::vector<nlohmann::json> list_in(const nlohmann::json& document, const char* key);

/// As text; what is not UTF-8 (a peer's sentence may hold anything) is replaced rather than thrown about.
std::string to_text(const nlohmann::json& document);

/// A JSON object from a peer, nested at most 32 deep. Throws Error(Errc::protocol_violation) for anything else.
nlohmann::json object_from_text(const std::string& text, const std::string& peer);

nlohmann::json to_json(const RoundStats& round);
nlohmann::json to_json(const MigrationReport& report);

/// "1.5 GiB", "183 ms", as people read them.
std::string format_bytes(std::uint64_t bytes);
std::string format_duration(Duration duration);

}  // namespace vmigrate

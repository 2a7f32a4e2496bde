// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/standing.h"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/disk.h"
#include "base/error.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;

std::string utc(std::uint64_t unix_time) {
  const auto time = static_cast<std::time_t>(unix_time);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

constexpr const char* kThisHost = "this host";

Standing read_standing(const fs::path& file) {
  Standing standing{.container = file.filename()};
  try {
    standing.records = read_journal(file);
  } catch (const Error& failure) {
    // An attempt that recorded nothing took its journal away since it was listed.
    if (failure.code() != std::errc::no_such_file_or_directory) standing.damage = failure.what();
  }
  return standing;
}

/// Added if it is not there yet.
Standing& standing_of(std::vector<Standing>& standings, const std::string& container) {
  const auto known = std::ranges::find(standings, container, &Standing::container);
  if (known != standings.end()) return *known;
  return standings.emplace_back(Standing{.container = container});
}

std::string other_host(const Standing& standing) { return "the other host (" + standing.records.back().peer + ")"; }

}  // namespace

std::vector<Record> read_journal(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw Error(errno, "cannot read the journal", file.native());
  std::vector<char> bytes(kJournalBytes + 1);
  stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (stream.gcount() != static_cast<std::streamsize>(kJournalBytes))
    throw Error(Errc::internal, file.native() + " is no journal: those are " + std::to_string(kJournalBytes) +
                                    " bytes long");
  return load_slots(std::as_bytes(std::span(bytes)).first(kJournalBytes), file.native()).records;
}

std::vector<Standing> read_standings(const StateDir& state) {
  std::vector<Standing> standings;
  for (const auto& entry : fs::directory_iterator(state.journals()))
    if (entry.is_regular_file() && !is_unfinished(entry.path().filename()))
      standings.push_back(read_standing(entry.path()));
  for (Waybill& waybill : state.waybills().list())
    standing_of(standings, waybill.offer.container).waybill = std::move(waybill);
  for (const std::string& container : state.waybills().damaged())
    standing_of(standings, container).damage = "the waybill " + (state.waybills_path() / container).native() +
                                               " cannot be read";
  std::erase_if(standings,
                [](const Standing& one) { return one.records.empty() && one.damage.empty() && !one.waybill; });
  for (KeptCopy& copy : state.kept_copies().list()) {
    Standing& standing = standing_of(standings, copy.container);
    standing.kept.push_back(std::move(copy));
  }
  std::ranges::sort(standings, {}, &Standing::container);
  return standings;
}

bool is_in_doubt(const Standing& standing) {
  if (!standing.damage.empty()) return true;
  if (standing.records.empty()) return false;
  const RecordType newest = standing.records.back().type;
  return newest == RecordType::given || newest == RecordType::prepared;
}

std::string who_may_run(const Standing& standing) {
  if (!standing.damage.empty()) return "nobody, until a human has looked: its records are damaged";
  if (standing.records.empty())
    return standing.waybill && standing.waybill->side == Side::destination ? "the other host (" +
                                                                                 standing.waybill->peer + ")"
                                                                           : kThisHost;
  switch (standing.records.back().type) {
    case RecordType::own:
    case RecordType::owned:
    case RecordType::reclaimed:
      return kThisHost;
    case RecordType::released:
    case RecordType::refused:
      return other_host(standing);
    case RecordType::given:
      return "nobody, until " + other_host(standing) + " has said that it runs there or never will";
    case RecordType::prepared:
      return "not this host, until " + other_host(standing) + " has given it away";
  }
  return "nobody";
}

Standing read_standing(const StateDir& state, const std::string& container) {
  for (Standing& standing : read_standings(state))
    if (standing.container == container) return std::move(standing);
  return {.container = container};
}

void check_may_run(const Standing& standing) {
  const std::string holder = who_may_run(standing);
  if (holder == kThisHost) return;
  throw Error(is_in_doubt(standing) ? Errc::in_doubt : Errc::not_owner,
              "container " + standing.container + " must not be started here; it may be run by " + holder);
}

std::string in_words(const Message& answer) {
  if (std::holds_alternative<Running>(answer)) return "RUNNING: it runs there";
  if (std::holds_alternative<Refused>(answer)) return "REFUSED: it will never run there";
  if (std::holds_alternative<Ready>(answer)) return "READY: it is held there and waits for our word";
  if (std::holds_alternative<Go>(answer)) return "GO: it is given to us";
  if (std::holds_alternative<Abort>(answer)) return "ABORT: nothing was given";
  if (std::holds_alternative<Wait>(answer)) return "WAIT: it is not decided there yet";
  if (const auto* refuse = std::get_if<Refuse>(&answer)) return "it does not answer us: " + refuse->reason;
  return "something else: " + std::string(name_of(answer));
}

std::string to_text(const Record& record) {
  return std::to_string(record.sequence) + "  " + utc(record.unix_time) + "  " + std::string(name_of(record.type)) +
         "  epoch " + std::to_string(record.epoch) + "  migration " + to_hex(record.migration) +
         (record.peer.empty() ? "" : "  with " + record.peer);
}

std::string to_text(const KeptCopy& copy) {
  return (copy.image.empty() ? copy.bundle : copy.image).native() + (copy.is_partial ? "  partial" : "") +
         "  until " + utc(copy.until) + "  copy " +
         to_hex(copy.migration);
}

std::string to_text(const Standing& standing) {
  std::string text = standing.container + "\n  may run:  " + who_may_run(standing) + "\n";
  if (!standing.records.empty()) text += "  record:   " + to_text(standing.records.back()) + "\n";
  if (!standing.damage.empty()) text += "  damage:   " + standing.damage + "\n";
  if (standing.waybill)
    text += "  under way: migration " + to_hex(standing.waybill->migration) +
            (standing.waybill->side == Side::source ? " to " : " from ") + standing.waybill->peer + "\n";
  for (const KeptCopy& copy : standing.kept) text += "  kept:     " + to_text(copy) + "\n";
  if (!standing.peer_says.empty()) text += "  the other host says " + standing.peer_says + "\n";
  return text;
}

nlohmann::json to_json(const Standing& standing) {
  nlohmann::json document = {{"container", standing.container},
                             {"may_run", who_may_run(standing)},
                             {"in_doubt", is_in_doubt(standing)},
                             {"under_way", standing.waybill.has_value()}};
  if (!standing.damage.empty()) document["damage"] = standing.damage;
  if (!standing.peer_says.empty()) document["peer_says"] = standing.peer_says;
  for (const KeptCopy& copy : standing.kept) document["kept"].push_back(nlohmann::json::parse(to_json(copy)));
  if (standing.records.empty()) return document;
  const Record& newest = standing.records.back();
  document["record"] = {{"type", name_of(newest.type)},
                        {"sequence", newest.sequence},
                        {"epoch", newest.epoch},
                        {"migration", to_hex(newest.migration)},
                        {"unix_time", newest.unix_time},
                        {"peer", newest.peer}};
  return document;
}

}  // namespace vmigrate

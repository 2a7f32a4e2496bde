// SPDX-License-Identifier: GPL-2.0-or-later
// One state of the model: two hosts, the attempts to move a container between them, and all that was ever sent.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>

#include "migrate/session_state.h"

namespace vmigrate::model {

inline constexpr int kHosts = 2;
inline constexpr int kAttemptsMax = 3;
inline constexpr int kFirstOwner = 0;   ///< the host on which the container was made, without any record

enum class Role : std::uint8_t { none, source, destination };

/// The container's processes on one host.
enum class Tree : std::uint8_t { none, held, frozen, running };

/// The image on one host. Of the generation, which grows with every write of a running container, only this is kept:
/// whether it is the latest. Whoever starts to run writes at once, so that every other copy is stale from there on.
enum class Image : std::uint8_t { none, stale, current };

/// What this host knows about the newest record of its journal.
enum class Tail : std::uint8_t {
  durable,
  written,   ///< and not yet synced
  unknown,   ///< fdatasync failed: the process takes no more records
  cached,    ///< read back after a crash from the page cache, which may know more than the disk
};

struct Host {
  Role role = Role::none;        ///< of its newest session
  std::uint8_t attempt = 0;      ///< of its newest session
  std::uint8_t state = 0;        ///< a SourceState or a DestinationState
  Tree tree = Tree::none;
  Image image = Image::none;
  Tail tail = Tail::durable;
  bool is_off = false;           ///< fenced: switched off, or its agent stopped, until somebody changes that
  bool is_taking_back = false;   ///< reclaiming on an operator's word, not on the destination's

  SourceState source() const { return static_cast<SourceState>(state); }
  DestinationState destination() const { return static_cast<DestinationState>(state); }
  bool is(SourceState expected) const { return role == Role::source && source() == expected; }
  bool is(DestinationState expected) const { return role == Role::destination && destination() == expected; }
  bool is_live() const {
    return role == Role::source ? !is_terminal(source()) : role == Role::destination && !is_terminal(destination());
  }
  /// What it recorded last is an answer, and it may record more.
  bool knows_its_journal() const { return tail == Tail::durable || tail == Tail::cached; }
};

/// The messages that change anything where they arrive. Questions are missing: they are repeated for ever, so the
/// answer may be sent at any time. Refuse is missing: it promises nothing, and its receiver may fail by itself.
enum class Message : std::uint8_t { open, accept, manifest, ready, go, running, refused, abort };
inline constexpr int kMessages = 8;
std::string_view name_of(Message message) noexcept;
constexpr bool is_for_destination(Message message) {
  return message == Message::open || message == Message::manifest || message == Message::go ||
         message == Message::abort;
}

/// No record; RecordType has no zero.
inline constexpr std::uint8_t kNoRecord = 0;

struct Attempt {
  std::uint8_t source = 0;                 ///< the host that gives
  std::uint8_t at_source = kNoRecord;      ///< newest RecordType in the source's journal
  std::uint8_t at_destination = kNoRecord; ///< newest RecordType in the destination's journal
  std::uint8_t sent = 0;                   ///< one bit per Message; what was sent may arrive at any time, and again
  bool is_snapshot_current = false;        ///< nobody has written since the checkpoint and the last blocks were taken
  bool has_destination_run = false;

  int destination() const { return 1 - source; }
  bool was_sent(Message message) const { return (sent >> static_cast<int>(message) & 1) != 0; }
};

struct World {
  std::array<Host, kHosts> hosts;
  std::array<Attempt, kAttemptsMax> attempts;
  std::uint8_t attempts_started = 0;
  bool is_lawless = false;   ///< a session met an event for which its table has no row

  Host& source_of(int attempt) { return hosts[attempts[attempt].source]; }
  Host& destination_of(int attempt) { return hosts[attempts[attempt].destination()]; }
  const Host& source_of(int attempt) const { return hosts[attempts[attempt].source]; }
  const Host& destination_of(int attempt) const { return hosts[attempts[attempt].destination()]; }

  /// The newest record about `attempt` in the journal of `host`.
  std::uint8_t& record(int host, int attempt) {
    return host == attempts[attempt].source ? attempts[attempt].at_source : attempts[attempt].at_destination;
  }
  std::uint8_t record(int host, int attempt) const {
    return host == attempts[attempt].source ? attempts[attempt].at_source : attempts[attempt].at_destination;
  }
  /// True if `host` has exactly this record about `attempt`, and knows it.
  bool is_recorded(int host, int attempt, RecordType type) const {
    const bool is_newest = hosts[host].role != Role::none && hosts[host].attempt == attempt;
    return record(host, attempt) == static_cast<std::uint8_t>(type) &&
           (!is_newest || hosts[host].knows_its_journal());
  }
  /// Its session is about this attempt.
  bool has_session(int host, int attempt) const {
    return hosts[host].role != Role::none && hosts[host].attempt == attempt;
  }
};

/// Without padding, a state is its bytes.
static_assert(std::has_unique_object_representations_v<World>);
inline bool is_same(const World& one, const World& other) { return std::memcmp(&one, &other, sizeof(World)) == 0; }

/// The state in which everything begins: it runs where it was made.
inline World first_world() {
  World world;
  world.hosts[kFirstOwner].tree = Tree::running;
  world.hosts[kFirstOwner].image = Image::current;
  return world;
}

/// What a host says that finds no trace of its newest record: the one that must have preceded it.
constexpr std::uint8_t predecessor(std::uint8_t record) {
  switch (static_cast<RecordType>(record)) {
    case RecordType::released:
    case RecordType::reclaimed: return static_cast<std::uint8_t>(RecordType::given);
    case RecordType::owned:
    case RecordType::refused: return static_cast<std::uint8_t>(RecordType::prepared);
    default: return kNoRecord;
  }
}

constexpr std::optional<RecordType> as_type(std::uint8_t record) {
  if (record == kNoRecord) return std::nullopt;
  return static_cast<RecordType>(record);
}

}  // namespace vmigrate::model

// SPDX-License-Identifier: GPL-2.0-or-later
// What is going to happen in one run: the attempts, the hosts, and what goes wrong.
#pragma once

#include <string>
#include <vector>

#include "migrate/documents.h"
#include "tests/sim/random.h"

namespace vmigrate::sim {

/// alpha has the container first.
enum class HostName { alpha, beta };
inline HostName other(HostName host) { return host == HostName::alpha ? HostName::beta : HostName::alpha; }
inline const char* text_of(HostName host) { return host == HostName::alpha ? "alpha" : "beta"; }

enum class Deed {
  kill,        ///< a process dies, as by kill -9
  power,       ///< a host loses power
  eio,         ///< the operation fails with EIO
  enospc,      ///< the operation fails with ENOSPC
  cut,         ///< every connection is reset
  cut_one,     ///< one of them
  dark,        ///< the network swallows everything, for a while or until the end
  one_way,     ///< the same in one direction
  cancel,      ///< the operator cancels
  shut_down,   ///< an agent is told to end
  lose_track,  ///< the write tracker cannot vouch for its map any more
  replay,      ///< somebody says again on a new connection what was really said before
};
inline constexpr int kDeeds = 12;
const char* text_of(Deed deed);

/// One thing that goes wrong, at a point or at a time.
struct Fault {
  Deed deed = Deed::kill;
  std::string point;                 ///< "journal.given.after_fsync"; empty: at `when`
  unsigned nth = 1;                  ///< the n-th time that point is reached
  bool is_at_any_message = false;    ///< `point` is left out: the n-th message, whichever it is, before it is sent
  Duration when{};                   ///< since the start
  bool strikes_other = false;        ///< the other host than the one that reaches the point; at a time: beta
  bool persists = false;             ///< eio, enospc: from then on; kill, power, dark: until everything heals
  Duration lasts{};                  ///< kill, power: until it is there again; dark: until there is light
};
std::string text_of(const Fault& fault);

struct Plan {
  bool is_pull = false;
  bool has_command = false;          ///< whoever starts it is a command, not an agent
  MigrationOptions options;
  Duration latency{};
  std::uint64_t bytes_per_second = 0;
  Duration write_every{};
  unsigned writes_at_once = 1;
  unsigned writes_max = 40;
  bool starts_at_boot = false;       ///< a host starts its container after a power cut if its journal allows it
  bool has_second = false;           ///< another attempt from wherever the container is then
  Duration second_after{};
  Duration heals_after{};            ///< since the start: nothing goes wrong any more
  std::vector<Fault> faults;
};

/// Everything from the seed.
Plan plan_of(Random& random);

}  // namespace vmigrate::sim

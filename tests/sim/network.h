// SPDX-License-Identifier: GPL-2.0-or-later
// The network between two simulated hosts. Messages take time; connections break, fall silent, and heal.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "tests/sim/scenario.h"
#include "transport/channel.h"

namespace vmigrate::sim {

class Connection;
class Process;
class SimChannel;
class World;

class Network {
 public:
  explicit Network(World& world) : world_(world) {}

  /// A connection between two processes: the caller's end first.
  struct Ends {
    std::unique_ptr<Channel> caller;
    std::unique_ptr<Channel> callee;
  };
  Ends connect(Process& caller, Process& callee);
  bool is_dark(HostName from) const { return is_dark_[from == HostName::alpha ? 0 : 1]; }
  bool is_dark() const { return is_dark_[0] || is_dark_[1]; }

  /// Every connection is reset, and what is on its way is lost.
  void cut();
  /// The same with one of them.
  void cut_one();
  /// What `from` sends does not arrive.
  void darken(HostName from);
  void light();
  /// The kernel of a host closes what a dead process had open.
  void close_all_of(const Process& process, bool loses_what_is_on_its_way);
  /// A host without power says nothing.
  void silence_all_of(const Process& process);
  /// Those that somebody still uses.
  std::size_t open_count();

 private:
  friend class Connection;
  void reset_if_still_silent();

  World& world_;
  std::array<bool, 2> is_dark_{};
  std::vector<std::weak_ptr<Connection>> connections_;
};

}  // namespace vmigrate::sim

// SPDX-License-Identifier: GPL-2.0-or-later
// Peers that are known and have not yet said what they want: few, and not for long.
#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <string>

#include <boost/asio/steady_timer.hpp>

#include "transport/channel.h"

namespace vmigrate {

struct LobbyLimits {
  std::size_t guests_max = 32;
  std::size_t guests_per_host_max = 8;   ///< with one certificate's name
  Duration stay_max = std::chrono::seconds(10);
};

/// Whoever comes is let in. When that makes too many, the oldest is shown out, of the same host if that host has too
/// many: an honest peer stays for milliseconds. Lives on one executor.
class Lobby {
 public:
  explicit Lobby(LobbyLimits limits) : limits_(limits) {}
  Lobby(const Lobby&) = delete;

  /// A stay. When it has lasted too long, or others need the room, the channel is closed; whoever waits on it sees
  /// connection_lost.
  class Guest {
   public:
    /// `lobby` and `channel` must outlive the guest.
    Guest(Lobby& lobby, const asio::any_io_executor& executor, Channel& channel);
    ~Guest() { lobby_.guests_.remove(this); }
    Guest(const Guest&) = delete;

   private:
    friend class Lobby;
    void show_out(const char* why);

    Lobby& lobby_;
    Channel& channel_;
    std::string host_;
    asio::steady_timer timer_;
    std::shared_ptr<Guest*> self_;   // for the timer's handler, which may run once more after us
  };

 private:
  void make_room_for(const std::string& host);

  LobbyLimits limits_;
  std::list<Guest*> guests_;   // the oldest first
};

}  // namespace vmigrate

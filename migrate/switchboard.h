// SPDX-License-Identifier: GPL-2.0-or-later
// How a new connection about a migration reaches its session: one that waits for a word, or for more connections.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "transport/channel.h"

namespace vmigrate {

/// On one executor. Must outlive its lines and desks.
class Switchboard {
 public:
  /// A session that can be called. At most one for each migration.
  class Line {
   public:
    Line(const asio::any_io_executor& executor, Switchboard& board, MigrationId id, std::string container);
    Line(const Line&) = delete;
    ~Line();
    /// From now on it cannot be called.
    void close() noexcept;

    /// The channel of a peer that has said Ask and waits for the answer; null if none called within `patience`.
    Task<std::unique_ptr<Channel>> next_call(Clock& clock, Duration patience);
    bool has_call() const { return call_ != nullptr; }
    /// Runs when a call comes in: what takes the session out of a wait on an older connection. Must not throw.
    void on_call(std::function<void()> interrupt) { interrupt_ = std::move(interrupt); }

   private:
    friend class Switchboard;
    Switchboard& board_;
    MigrationId id_;
    std::string container_;
    asio::steady_timer rings_;        ///< never expires; cancelled to say that a call is there
    std::unique_ptr<Channel> call_;   ///< the latest; one that came before it hears that the connection is closed
    std::function<void()> interrupt_;
  };

  /// Where the connections arrive that join a migration. At most one for each.
  class Desk {
   public:
    /// `names`: of the peer's certificate; nobody else may join.
    Desk(const asio::any_io_executor& executor, Switchboard& board, MigrationId id, std::vector<std::string> names);
    Desk(const Desk&) = delete;
    ~Desk();

    /// The next channel of the peer that has said Join and waits for the answer; null if none came within `patience`.
    Task<std::unique_ptr<Channel>> next(Clock& clock, Duration patience);

   private:
    friend class Switchboard;
    static constexpr std::size_t kWaitingMax = 16;   ///< more are turned away

    Switchboard& board_;
    MigrationId id_;
    std::vector<std::string> names_;
    asio::steady_timer rings_;                        ///< never expires; cancelled to say that somebody is there
    std::deque<std::unique_ptr<Channel>> waiting_;
  };

  /// Gives the channel to the desk of that migration. False, with `channel` untouched, if there is none for it.
  bool join(const Join& join, std::unique_ptr<Channel>& channel);
  /// Gives the channel to whoever has the line for that migration of that container: the caller's right to ask was
  /// judged by the container that he named. False, with `channel` untouched, if nobody has.
  bool put_through(const Ask& ask, std::unique_ptr<Channel>& channel);

 private:
  std::map<MigrationId, Line*> lines_;
  std::map<MigrationId, Desk*> desks_;
};

}  // namespace vmigrate

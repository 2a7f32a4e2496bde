// SPDX-License-Identifier: GPL-2.0-or-later
// How a new connection about an old migration reaches the session that waits for a word.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "transport/channel.h"

namespace vmigrate {

/// On one executor. Must outlive its lines.
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

  /// Gives the channel to whoever has the line for that migration of that container: the caller's right to ask was
  /// judged by the container that he named. False, with `channel` untouched, if nobody has.
  bool put_through(const Ask& ask, std::unique_ptr<Channel>& channel);

 private:
  std::map<MigrationId, Line*> lines_;
};

}  // namespace vmigrate

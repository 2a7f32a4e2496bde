// SPDX-License-Identifier: GPL-2.0-or-later
// One process of a simulated host: an agent or a command, from its start to its death.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "migrate/destination_session.h"
#include "migrate/recovery.h"
#include "migrate/source_session.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/timeline.h"

namespace vmigrate::sim {

class World;
struct Host;
struct Attempt;
class Process;

/// Cancels a timer at a moment of virtual time, unless it is gone by then.
class Alarm {
 public:
  Alarm(Process& process, TimePoint when, asio::steady_timer& timer);
  Alarm(const Alarm&) = delete;
  ~Alarm();
  bool is_due() const { return is_due_; }

 private:
  Timeline& timeline_;
  Timeline::Ticket ticket_;
  bool is_due_ = false;
};

class ProcessClock final : public Clock {
 public:
  explicit ProcessClock(Process& process) : process_(process) {}
  TimePoint now() const override;
  Task<> sleep_until(TimePoint when) override;

 private:
  Process& process_;
};

/// An event loop, a pool without threads, and what runs on them: as migrate/agent.cc and migrate/session_start.cc have
/// it, over a simulated host. When it dies all its coroutines are destroyed, and from that moment on nothing of it has
/// any effect.
class Process {
 public:
  Process(World& world, Host& host, std::string name, std::string agent_address);
  Process(const Process&) = delete;
  ~Process();

  World& world() { return world_; }
  Host& host() { return host_; }
  const std::string& name() const { return name_; }
  bool is_agent() const { return !agent_address_.empty(); }
  asio::io_context& loop() { return loop_; }
  asio::thread_pool& pool() { return pool_; }
  Clock& clock() { return clock_; }
  Disk& disk() { return disk_; }
  std::filesystem::path journals() const { return "/journal"; }
  WaybillDir waybills() { return WaybillDir("/waybills", disk_); }

  // Its life.
  bool is_dead() const { return is_dead_; }
  /// Nothing it does has any effect any more. The world buries it at the next opportunity.
  void die() { is_dead_ = true; }
  /// It came to its own end.
  bool has_ended() const { return has_ended_; }
  void wake() { is_ready_ = true; }
  /// Runs whatever can run now. False if nothing could.
  bool poll();
  bool is_idle() const { return sessions_.empty() && recovery_.is_idle() && conversations_ == 0; }

  // What it is for.
  void serve();
  void accept(std::unique_ptr<Channel> channel);
  void start(Attempt& attempt);
  void replay(const std::vector<Message>& words, HostName to);
  void cancel_sessions();
  void shut_down();

 private:
  class Live;

  void reach_disk(const std::filesystem::path& path, const char* operation);
  Task<> look_for_waybills();
  Task<> end_when_idle();
  Task<> converse(std::unique_ptr<Channel> channel);
  Task<> answer(std::unique_ptr<Channel> channel);
  Task<> answer_open(std::unique_ptr<Channel> channel, Open open);
  Task<> answer_pull(std::unique_ptr<Channel> channel, Pull pull);
  Task<> run_attempt(Attempt& attempt);
  Task<> push(Attempt& attempt, Cancellation& cancellation);
  Task<> pull(Attempt& attempt, Cancellation& cancellation);
  Task<MigrationReport> send_container(const std::string& dialled, Departure& departure, Channel& channel,
                                       Cancellation& cancellation);
  Task<> say_again(std::vector<Message> words, std::string address);
  Task<std::unique_ptr<Channel>> dial(std::string address);
  Recovery::Parts recovery_parts();

  World& world_;
  Host& host_;
  std::string name_;
  std::string agent_address_;
  bool is_dead_ = false;
  bool has_ended_ = false;
  bool is_ready_ = true;
  int conversations_ = 0;
  ProcessDisk disk_;
  ProcessClock clock_;
  NoProgress nobody_;
  Switchboard switchboard_;
  Cancellation end_;
  std::vector<Cancellation*> sessions_;
  std::unique_ptr<ArrivalHost> arrivals_;
  Recovery recovery_;
  asio::io_context loop_{1};
  asio::thread_pool pool_{0};   // ends before the loop that waits for what it does
};

}  // namespace vmigrate::sim

// SPDX-License-Identifier: GPL-2.0-or-later
// Two hosts, their processes, one container and its client: one run of the simulation, and what must be true in it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "migrate/journal.h"
#include "tests/sim/container.h"
#include "tests/sim/network.h"
#include "tests/sim/process.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/timeline.h"

namespace vmigrate::sim {

/// What is left when every process is gone, and what is left without power.
struct Host {
  HostName name = HostName::alpha;
  SimDisk disk;
  std::optional<Tree> tree;            ///< the container's processes
  std::shared_ptr<Image> image;        ///< under its own name
  std::shared_ptr<Image> kept_image;   ///< renamed
  Process* agent = nullptr;            ///< null while none runs
  bool is_on = true;
  std::filesystem::path scratch;       ///< real directories on tmpfs
  std::filesystem::path outgoing;
  std::filesystem::path incoming;
};

struct Attempt {
  HostName from = HostName::alpha;
  HostName to = HostName::beta;
  bool is_pull = false;
  bool has_command = false;
};

/// stands_still: the source has given it and cannot ask, because the destination has no agent. A named limit.
enum class Ending { migrated, aborted, started_from_disk, stands_still };
inline constexpr int kEndings = 4;
const char* text_of(Ending ending);

/// How one run went. Plain: it is sent from process to process.
struct Result {
  Ending ending = Ending::aborted;
  bool has_violation = false;
  std::array<std::uint32_t, kDeeds> deeds{};   ///< those that were really done
  std::uint32_t events = 0;
  std::uint32_t messages = 0;
  std::uint32_t acknowledged = 0;              ///< writes
  Duration time{};
};

class World {
 public:
  /// `directory` holds the temporary files that are real; a run leaves nothing in it that another could see.
  World(Plan plan, Random random, const std::filesystem::path& directory);
  World(const World&) = delete;
  ~World();

  /// To the end. Call once.
  Result run();
  /// From now on everything that happens is written down.
  void record_story() { has_story_ = true; }
  const std::vector<std::string>& story() const { return story_; }
  const std::string& violation() const { return violation_; }
  /// The side that the container ran on just before everything healed; nothing if none.
  std::optional<HostName> runner_before_healing() const { return runner_before_healing_; }
  bool has_healed() const { return has_healed_; }
  /// At the end: the side that has the container now.
  bool is_on_source() const { return hosts_[0].tree.has_value(); }

  // What processes use.
  const Plan& plan() const { return plan_; }
  Timeline& timeline() { return timeline_; }
  Random& random() { return random_; }
  Network& network() { return network_; }
  template <typename Text>
  void tell(const Text& text) {
    if (has_story_) write_down(text());
  }
  /// A process is at a named point: it may fail there or die. Throws Error in both cases, and whenever it is dead.
  void reach(Process& process, std::string_view point);
  void reach_current(std::string_view point);
  /// Something may still go wrong at some point.
  bool can_strike() const { return !has_healed_ && strikes_left_ > 0; }
  Task<std::unique_ptr<Channel>> connect(Process& caller, std::string address);
  Duration time_on_the_wire(std::size_t bytes);
  bool has_lost_track() { return std::exchange(loses_track_, false); }
  void judge_message(Process& process, const Message& message);
  /// It is about to destroy what it gave in that migration.
  void judge_release(Host& host, MigrationId id);
  /// An attempt was aborted by the process that had frozen the container for so long.
  void judge_pause(Duration frozen);
  void note_sent(Process& process, const Message& message);
  void note_received(Process& process, const Message& message);

  // What kernel and CRIU do to the container.
  void freeze_tree(Host& host, const char* how);
  void run_tree(Host& host, const char* how);
  void restore_tree(Host& host, const App& app);
  void start_tree(Host& host, const char* how);
  void destroy_tree(Host& host, const char* how);

 private:
  struct Armed {
    Fault fault;
    unsigned reached = 0;
    bool is_done = false;
  };

  // The run.
  void set_up();
  void make_directories(const std::filesystem::path& directory);
  bool let_processes_run();
  void bury();
  bool is_quiet() const;
  void heal();
  bool waits_for_a_human() const;
  void begin(Attempt attempt);
  void begin_second();
  void write_some();
  Host& host(HostName name) { return hosts_[name == HostName::alpha ? 0 : 1]; }
  const Host& host(HostName name) const { return hosts_[name == HostName::alpha ? 0 : 1]; }
  Host& other_of(const Host& one) { return host(other(one.name)); }

  // What goes wrong.
  void arm_faults();
  bool is_struck(Armed& armed, const Process& process, std::string_view point);
  void strike(Armed& armed, Host& where, Process* reacher);
  void kill(Process& process);
  void kill_processes_of(Host& host, Duration until_restart);
  void power_off(Host& host, Duration until_on);
  void power_on(Host& host);
  void start_agent(Host& host);
  void start_at_boot(Host& host);
  void replay_something();

  // What must be true.
  void violate(const std::string& what);
  void check_now();
  void check_end();
  void check_may_run(Host& host, const char* how, bool is_from_disk);
  void check_content(Host& host, bool is_from_disk);
  const std::vector<Record>& certain_records(const Host& host) const;
  std::optional<RecordType> certain_type(const Host& host, MigrationId id) const;
  bool owns_by_journal(const Host& host) const;
  Ending judge_ending();
  void write_down(const std::string& text);

  Plan plan_;
  Random random_;
  Timeline timeline_;
  Network network_{*this};
  std::array<Host, 2> hosts_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::vector<std::unique_ptr<Attempt>> attempts_;
  std::vector<Armed> faults_;
  Process* current_ = nullptr;
  std::size_t strikes_left_ = 0;            ///< faults at points that may still come
  mutable std::array<std::pair<std::uint64_t, std::vector<Record>>, 2> certain_;   ///< as of that version of the disk
  TimePoint started_{};

  std::uint32_t steps_ = 0;                 ///< the newest of App::steps anywhere
  Values acknowledged_{};
  unsigned writes_ = 0;
  std::set<MigrationId> ran_there_;         ///< attempts after which the destination ran
  std::uint64_t newest_epoch_ = 0;          ///< that the container ran in
  struct Said {
    HostName by;
    Message word;
  };
  std::vector<Said> said_;                  ///< words of the hand-over
  bool has_healed_ = false;
  bool has_second_begun_ = false;
  bool stands_still_ = false;
  bool is_memory_lost_ = false;             ///< it was started from a disk
  bool loses_track_ = false;
  bool has_story_ = false;
  std::vector<std::string> story_;
  std::string violation_;
  std::optional<HostName> runner_before_healing_;
  Result result_;
};

}  // namespace vmigrate::sim

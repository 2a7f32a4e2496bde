// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/sim/world.h"

#include <algorithm>
#include <cerrno>

#include "base/assert.h"
#include "base/failpoint.h"
#include "migrate/failpoint_channel.h"

namespace vmigrate::sim {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr auto kEndsWithin = 30min;         // after everything has healed
constexpr auto kHumanIsCalledAfter = 3min;  // the same
constexpr auto kConnectTimeout = 10s;
constexpr auto kRollbackMax = 1s;
constexpr auto kRestartAtOnce = 100ms;
constexpr std::size_t kProcessesMax = 12;
constexpr std::size_t kEventsAheadMax = 400;
constexpr std::uint32_t kEventsMax = 400'000;

bool is_word(const Message& message) {
  return std::holds_alternative<Ask>(message) || std::holds_alternative<Go>(message) ||
         std::holds_alternative<Abort>(message) || std::holds_alternative<Ready>(message) ||
         std::holds_alternative<Running>(message) || std::holds_alternative<Refused>(message) ||
         std::holds_alternative<Done>(message);
}

bool is_owners(RecordType type) {
  return type == RecordType::own || type == RecordType::owned || type == RecordType::reclaimed;
}

}  // namespace

const char* text_of(Ending ending) {
  constexpr std::array<const char*, kEndings> kTexts = {"migrated", "aborted", "started from the disk",
                                                        "for a human (no agent to ask)"};
  return kTexts.at(static_cast<std::size_t>(ending));
}

World::World(Plan plan, Random random, const fs::path& directory) : plan_(std::move(plan)), random_(random) {
  hosts_[0].name = HostName::alpha;
  hosts_[1].name = HostName::beta;
  make_directories(directory);
}

World::~World() {
  for (const auto& process : processes_) process->die();
  processes_.clear();
}

void World::make_directories(const fs::path& directory) {
  for (Host& one : hosts_) {
    one.scratch = directory;
    one.outgoing = directory / (std::string(text_of(one.name)) + "-out");
    one.incoming = directory / (std::string(text_of(one.name)) + "-in");
    for (const fs::path& files : {one.outgoing, one.incoming}) {
      if (!fs::remove(files / "pages-1.img")) fs::create_directories(files);
    }
  }
}

// --- the run ------------------------------------------------------------------------------------------------------

void World::set_up() {
  started_ = timeline_.now();
  Host& alpha = host(HostName::alpha);
  alpha.image = std::make_shared<Image>();
  alpha.tree.emplace();
  for (std::uint32_t i = 0; i < 4; ++i) write_some();
  for (Host& one : hosts_) start_agent(one);
  for (const Fault& fault : plan_.faults) {
    faults_.push_back({fault});
    if (!fault.point.empty() || fault.is_at_any_message) ++strikes_left_;
  }
  arm_faults();
  timeline_.after(plan_.heals_after, [this] { heal(); });
  timeline_.after(plan_.write_every, [this] { write_some(); });
  begin({HostName::alpha, HostName::beta, plan_.is_pull, plan_.has_command});
}

Result World::run() {
  set_failpoint_handler([this](std::string_view point) { reach_current(point); });
  set_up();
  while (violation_.empty() && !stands_still_) {
    const bool has_run = let_processes_run();
    bury();
    check_now();
    if (has_run) continue;
    if (plan_.has_second && !has_second_begun_ && is_quiet()) begin_second();
    else if (is_quiet()) break;
    if (!timeline_.step()) violate("nothing can happen any more, and it is not over");
    ++result_.events;
  }
  if (violation_.empty() && !stands_still_) check_end();
  if (violation_.empty()) result_.ending = judge_ending();
  result_.has_violation = !violation_.empty();
  result_.time = timeline_.now() - started_;
  set_failpoint_handler({});
  return result_;
}

bool World::let_processes_run() {
  bool has_run = false;
  const std::size_t count = processes_.size();
  const std::size_t first = count > 0 ? random_.below(count) : 0;
  for (std::size_t i = 0; i < count; ++i) {
    current_ = processes_[(first + i) % count].get();
    if (current_->poll()) has_run = true;
  }
  current_ = nullptr;
  return has_run;
}

/// Those that died or came to their end go away, with everything that was theirs.
void World::bury() {
  for (std::size_t i = 0; i < processes_.size();) {
    Process& process = *processes_[i];
    if (!process.is_dead() && !process.has_ended()) {
      ++i;
      continue;
    }
    Host& where = process.host();
    if (where.agent == &process) where.agent = nullptr;
    const bool ended_by_itself = !process.is_dead();
    const bool was_agent = process.is_agent();
    auto corpse = std::move(processes_[i]);
    processes_.erase(processes_.begin() + static_cast<std::ptrdiff_t>(i));
    if (ended_by_itself) {
      tell([&] { return corpse->name() + " ends"; });
      network_.close_all_of(*corpse, false);
    }
    current_ = corpse.get();
    const Process* const address = corpse.get();
    corpse.reset();
    current_ = nullptr;
    where.disk.release_locks_of(address);
    if (ended_by_itself && was_agent)
      timeline_.after(random_.between(100ms, 5s), [this, &where] { start_agent(where); });
  }
}

/// Nothing is under way, and nothing will be.
bool World::is_quiet() const {
  const bool can_fail = !has_healed_ && std::any_of(faults_.begin(), faults_.end(), [](const Armed& armed) {
    return !armed.is_done && armed.fault.point.empty() && !armed.fault.is_at_any_message;
  });
  if (can_fail || network_.is_dark() || processes_.size() != 2) return false;
  for (const Host& one : hosts_)
    if (!one.is_on || one.agent == nullptr || !one.agent->is_idle() || one.disk.file_count("/waybills") > 0 ||
        one.disk.has_locks())
      return false;
  return true;
}

void World::heal() {
  for (const Host& one : hosts_)
    if (one.tree && !one.tree->is_frozen) runner_before_healing_ = one.name;
  has_healed_ = true;
  tell([] { return std::string("everything heals"); });
  network_.light();
  for (Host& one : hosts_) {
    if (!one.is_on) power_on(one);
    if (one.agent == nullptr) start_agent(one);
  }
  timeline_.after(kHumanIsCalledAfter, [this] { stands_still_ = waits_for_a_human(); });
  timeline_.after(kEndsWithin, [this] {
    if (!is_quiet()) violate("it does not come to an end");
  });
}

/// The source has given it, or may have, to a command that has settled it over there, and is gone.
bool World::waits_for_a_human() const {
  const Attempt& last = *attempts_.back();
  if (!last.is_pull || !last.has_command) return false;
  const Host& source = host(last.from);
  const Host& destination = host(last.to);
  const bool stands = source.disk.file_count("/waybills") > 0 && (!source.tree || source.tree->is_frozen);
  if (!stands || destination.disk.file_count("/waybills") > 0) return false;
  const auto& records = certain_records(destination);
  const auto newest = records.empty() ? RecordType::own : records.back().type;
  return newest == RecordType::owned || newest == RecordType::refused;
}

void World::begin(Attempt attempt) {
  Host& starter = host(attempt.is_pull ? attempt.to : attempt.from);
  if (!starter.is_on || (!attempt.has_command && starter.agent == nullptr)) return;
  attempts_.push_back(std::make_unique<Attempt>(attempt));
  tell([&] {
    return std::string("attempt from ") + text_of(attempt.from) + (attempt.is_pull ? ", pulled by " : ", pushed by ") +
           (attempt.has_command ? "a command" : "an agent");
  });
  if (!attempt.has_command) return starter.agent->start(*attempts_.back());
  const std::string name = std::string(text_of(starter.name)) + "'s command";
  processes_.push_back(std::make_unique<Process>(*this, starter, name, ""));
  processes_.back()->start(*attempts_.back());
}

/// From wherever it runs now.
void World::begin_second() {
  has_second_begun_ = true;
  timeline_.after(plan_.second_after, [this] {
    for (Host& one : hosts_)
      if (one.tree && !one.tree->is_frozen) {
        begin({one.name, other(one.name), random_.chance(40), random_.chance(35)});
        return;
      }
  });
}

/// The client and the container: a write is in memory, on the disk, and acknowledged. Some are not synced, and not
/// acknowledged.
void World::write_some() {
  const bool is_in_run = writes_ >= 4;
  const unsigned writes_before = writes_;
  for (Host& one : hosts_) {
    if (!one.tree || one.tree->is_frozen || writes_ >= plan_.writes_max + 4) continue;
    for (unsigned i = 0; i < plan_.writes_at_once; ++i) {
      App& app = one.tree->app;
      app.steps = ++steps_;
      ++writes_;
      const std::uint64_t block = random_.below(kBlocks);
      app.values[block] = steps_;
      if (random_.chance(20)) {
        one.image->volume().write_later(BlockIndex{block}, steps_);
        continue;
      }
      one.image->write_through(block, steps_);
      acknowledged_[block] = steps_;
      ++result_.acknowledged;
    }
  }
  const Duration pause = writes_ > writes_before ? plan_.write_every : std::max<Duration>(plan_.write_every, 100ms);
  if (is_in_run && writes_ < plan_.writes_max + 4) timeline_.after(pause, [this] { write_some(); });
}

Duration World::time_on_the_wire(std::size_t bytes) {
  const auto sending = Duration(static_cast<Duration::rep>(1e9 * static_cast<double>(bytes + 64) /
                                                           static_cast<double>(plan_.bytes_per_second)));
  // Now and then something is held up for long.
  const Duration delay = !has_healed_ && random_.below(200) == 0 ? random_.between(0ms, 15s) : Duration{};
  return sending + plan_.latency / 2 + random_.between(Duration{}, plan_.latency) + delay;
}

Task<std::unique_ptr<Channel>> World::connect(Process& caller, std::string address) {
  reach(caller, "dial");
  Host& callee = host(address == "alpha" ? HostName::alpha : HostName::beta);
  co_await caller.clock().sleep_for(time_on_the_wire(64));
  if (network_.is_dark() || !callee.is_on) {
    co_await caller.clock().sleep_for(kConnectTimeout);
    throw Error(Errc::connect_failed, address + " does not answer");
  }
  if (callee.agent == nullptr || callee.agent->is_dead() || caller.is_dead())
    throw Error(Errc::connect_failed, "nobody listens on " + address);
  auto ends = network_.connect(caller, *callee.agent);
  callee.agent->accept(std::move(ends.callee));
  co_return std::move(ends.caller);
}

void World::write_down(const std::string& text) {
  const auto ms = std::chrono::duration_cast<std::chrono::microseconds>(timeline_.now() - started_).count();
  std::string stamp = std::to_string(ms / 1000) + "." + std::to_string(1000 + ms % 1000).substr(1) + " ms";
  stamp.insert(0, stamp.size() < 15 ? 15 - stamp.size() : 0, ' ');
  story_.push_back(stamp + "  " + text);
}

// --- what the kernel does -----------------------------------------------------------------------------------------

void World::freeze_tree(Host& one, const char* how) {
  MIGRATE_ASSERT(one.tree.has_value());
  one.tree->is_frozen = true;
  tell([&] { return std::string(text_of(one.name)) + " " + how; });
}

void World::run_tree(Host& one, const char* how) {
  if (!one.tree) return;
  const bool ran_before = !one.tree->is_frozen;
  one.tree->is_frozen = false;
  tell([&] { return std::string(text_of(one.name)) + " " + how; });
  if (!ran_before) check_may_run(one, how, false);
}

void World::restore_tree(Host& one, const App& app) {
  if (one.tree) return violate("processes are restored where there are some already");
  one.tree.emplace(Tree{app, true});
  tell([&] { return std::string(text_of(one.name)) + " restores"; });
}

/// Memory is lost, as in any boot.
void World::start_tree(Host& one, const char* how) {
  tell([&] { return std::string(text_of(one.name)) + " " + how; });
  if (!one.image) return violate("there is no disk to start from");
  is_memory_lost_ = true;
  one.tree.emplace();
  one.tree->app.values = one.image->values();
  one.tree->app.steps = ++steps_;
  check_may_run(one, how, true);
}

void World::destroy_tree(Host& one, const char* how) {
  if (!one.tree) return;
  one.tree.reset();
  tell([&] { return std::string(text_of(one.name)) + " " + how; });
}

// --- what goes wrong ----------------------------------------------------------------------------------------------

void World::arm_faults() {
  for (std::size_t i = 0; i < faults_.size(); ++i) {
    const Fault& fault = faults_[i].fault;
    if (!fault.point.empty() || fault.is_at_any_message) continue;
    timeline_.after(fault.when, [this, i] {
      Armed& armed = faults_[i];
      armed.is_done = true;
      if (!has_healed_) strike(armed, host(armed.fault.strikes_other ? HostName::beta : HostName::alpha), nullptr);
    });
  }
}

void World::reach_current(std::string_view point) {
  if (current_ != nullptr) reach(*current_, point);
}

void World::reach(Process& process, std::string_view point) {
  const auto throw_dead = [&] { throw Error(EIO, "the process is dead at", point); };
  if (process.is_dead()) throw_dead();
  if (!can_strike()) return;
  for (Armed& armed : faults_) {
    if (!is_struck(armed, process, point)) continue;
    const Deed deed = armed.fault.deed;
    tell([&] { return process.name() + " at " + std::string(point) + ": " + text_of(armed.fault); });
    const bool is_sync = point.ends_with(".before_fsync") || point.ends_with(".sync");
    if ((deed == Deed::eio || deed == Deed::enospc) && is_sync) process.host().disk.doom_unsynced();
    Host& where = armed.fault.strikes_other ? other_of(process.host()) : process.host();
    strike(armed, where, armed.fault.strikes_other ? nullptr : &process);
    if (process.is_dead()) throw_dead();
    if (deed == Deed::eio) throw Error(EIO, "failpoint", point);
    if (deed == Deed::enospc) throw Error(ENOSPC, "failpoint", point);
  }
}

bool World::is_struck(Armed& armed, const Process&, std::string_view point) {
  const Fault& fault = armed.fault;
  const bool is_here = fault.is_at_any_message ? point.starts_with("message.") && point.ends_with(".before_send")
                                               : !fault.point.empty() && fault.point == point;
  if (!is_here || armed.is_done) return false;
  if (++armed.reached < fault.nth) return false;
  const bool goes_on = fault.persists && (fault.deed == Deed::eio || fault.deed == Deed::enospc);
  armed.is_done = !goes_on;
  if (armed.is_done) --strikes_left_;
  return true;
}

void World::strike(Armed& armed, Host& where, Process* reacher) {
  const Fault& fault = armed.fault;
  ++result_.deeds[static_cast<std::size_t>(fault.deed)];
  if (reacher == nullptr) tell([&] { return text_of(fault) + " on " + text_of(where.name); });
  const Duration lasts = fault.persists ? plan_.heals_after : fault.lasts;
  switch (fault.deed) {
    case Deed::kill:
      if (reacher == nullptr) return kill_processes_of(where, lasts);
      if (reacher->is_agent()) timeline_.after(lasts, [this, &where] { start_agent(where); });
      return kill(*reacher);
    case Deed::power:
      return power_off(where, lasts);
    case Deed::cut:
      return network_.cut();
    case Deed::cut_one:
      return network_.cut_one();
    case Deed::dark:
      network_.darken(HostName::alpha);
      network_.darken(HostName::beta);
      timeline_.after(lasts, [this] { network_.light(); });
      return;
    case Deed::one_way:
      network_.darken(where.name);
      timeline_.after(lasts, [this] { network_.light(); });
      return;
    case Deed::cancel:
      for (const auto& process : processes_)
        if (&process->host() == &where && !process->is_dead()) process->cancel_sessions();
      return;
    case Deed::shut_down:
      if (where.agent != nullptr && !where.agent->is_dead()) where.agent->shut_down();
      return;
    case Deed::lose_track:
      loses_track_ = true;
      return;
    case Deed::replay:
      return replay_something();
    case Deed::eio:
    case Deed::enospc:
      return;   // the operation itself fails
  }
}

void World::kill(Process& process) {
  if (process.is_dead()) return;
  tell([&] { return process.name() + " is killed"; });
  process.die();
  if (process.host().agent == &process) process.host().agent = nullptr;
  process.host().disk.release_locks_of(&process);
  network_.close_all_of(process, random_.chance(50));
}

void World::kill_processes_of(Host& where, Duration until_restart) {
  bool was_agent = false;
  for (const auto& process : processes_) {
    if (&process->host() != &where || process->is_dead()) continue;
    was_agent = was_agent || process->is_agent();
    kill(*process);
  }
  if (was_agent) timeline_.after(until_restart, [this, &where] { start_agent(where); });
}

void World::power_off(Host& where, Duration until_on) {
  if (!where.is_on) return;
  tell([&] { return std::string(text_of(where.name)) + " loses power"; });
  where.is_on = false;
  for (const auto& process : processes_) {
    if (&process->host() != &where || process->is_dead()) continue;
    process->die();
    network_.silence_all_of(*process);
  }
  where.agent = nullptr;
  where.tree.reset();
  for (auto* image : {&where.image, &where.kept_image})
    if (*image) *image = std::make_shared<Image>((*image)->durable());
  where.disk.lose_power(random_);
  timeline_.after(until_on, [this, &where] {
    if (!where.is_on) power_on(where);
  });
}

void World::power_on(Host& where) {
  tell([&] { return std::string(text_of(where.name)) + " boots"; });
  where.is_on = true;
  if (plan_.starts_at_boot && random_.chance(50)) start_at_boot(where);
  timeline_.after(random_.between(kRestartAtOnce, 10s), [this, &where] { start_agent(where); });
  if (!plan_.starts_at_boot) return;
  timeline_.after(random_.between(kRestartAtOnce, 10s), [this, &where] { start_at_boot(where); });
}

void World::start_agent(Host& where) {
  if (!where.is_on || where.agent != nullptr) return;
  tell([&] { return std::string(text_of(where.name)) + "'s agent starts"; });
  processes_.push_back(
      std::make_unique<Process>(*this, where, std::string(text_of(where.name)) + "'s agent", text_of(where.name)));
  where.agent = processes_.back().get();
  where.agent->serve();
}

/// What brings up a host's containers asks the journal first.
void World::start_at_boot(Host& where) {
  if (!where.is_on || where.tree || !where.image || !owns_by_journal(where)) return;
  start_tree(where, "starts it at boot");
}

void World::replay_something() {
  std::vector<const Said*> asks;
  for (const Said& one : said_)
    if (std::holds_alternative<Ask>(one.word)) asks.push_back(&one);
  if (asks.empty()) return;
  const Said& ask = *random_.pick(asks);
  std::vector<Message> words = {ask.word};
  for (const Said& one : said_)
    if (one.by == ask.by && !std::holds_alternative<Ask>(one.word) && random_.chance(50)) words.push_back(one.word);
  processes_.push_back(std::make_unique<Process>(*this, host(ask.by), "somebody", ""));
  processes_.back()->replay(words, other(ask.by));
}

// --- what must be true --------------------------------------------------------------------------------------------

void World::violate(const std::string& what) {
  tell([&] { return "VIOLATION: " + what; });
  if (violation_.empty()) violation_ = what;
}

void World::check_now() {
  int running = 0;
  for (const Host& one : hosts_) running += one.tree && !one.tree->is_frozen;
  if (running > 1) violate("it runs on both hosts");
  if (processes_.size() > kProcessesMax) violate("there are too many processes");
  if (timeline_.size() > kEventsAheadMax) violate("too much is under way");
  if (result_.events > kEventsMax) violate("too much happens");
}

const std::vector<Record>& World::certain_records(const Host& one) const {
  auto& [version, records] = certain_[one.name == HostName::alpha ? 0 : 1];
  if (std::exchange(version, one.disk.version()) == one.disk.version()) return records;
  records.clear();
  const auto disk = one.disk.certain();
  if (!disk->open("/journal/ct")) return records;
  try {
    records = Journal("/journal", "ct", *disk).records();
  } catch (const Error&) {
    // A damaged journal says nothing.
  }
  return records;
}

std::optional<RecordType> World::certain_type(const Host& one, MigrationId id) const {
  std::optional<RecordType> newest;
  for (const Record& record : certain_records(one))
    if (record.migration == id) newest = record.type;
  return newest;
}

/// By docs/states.md, from this host's records alone.
bool World::owns_by_journal(const Host& one) const {
  std::optional<RecordType> newest;
  for (const Record& record : certain_records(one))
    if (record.type != RecordType::prepared && record.type != RecordType::refused) newest = record.type;
  if (!newest) return one.name == HostName::alpha;
  return is_owners(*newest);
}

void World::check_may_run(Host& one, const char* how, bool is_from_disk) {
  check_now();
  const auto records = certain_records(one);
  if (!owns_by_journal(one)) {
    // The refusal of the other side does as well: this side's disk may have failed to take note of it.
    const bool is_given = !records.empty() && records.back().type == RecordType::given;
    const bool is_refused = is_given && certain_type(other_of(one), records.back().migration) == RecordType::refused;
    if (!is_refused)
      violate(std::string(text_of(one.name)) + " " + how + " without a record that allows it");
  }
  std::uint64_t epoch = 0;
  for (const Record& record : records)
    if (is_owners(record.type)) epoch = record.epoch;
  if (epoch < newest_epoch_) violate(std::string(text_of(one.name)) + " " + how + " in an older epoch");
  newest_epoch_ = epoch;
  if (!records.empty() && records.back().type == RecordType::owned) {
    const auto word = certain_type(other_of(one), records.back().migration);
    if (word != RecordType::given && word != RecordType::released)
      violate(std::string(text_of(one.name)) + " " + how + " what was not given");
    ran_there_.insert(records.back().migration);
  }
  for (const Record& record : records) {
    const bool is_newest_epoch = record.epoch >= records.back().epoch;
    if (record.type == RecordType::given && ran_there_.contains(record.migration) && is_newest_epoch)
      violate(std::string(text_of(one.name)) + " " + how + " although the other side ran it already");
  }
  check_content(one, is_from_disk);
}

void World::check_content(Host& one, bool is_from_disk) {
  const Values on_disk = one.image->values();
  for (std::uint64_t block = 0; block < kBlocks; ++block)
    if (on_disk[block] < acknowledged_[block])
      violate("an acknowledged write to block " + std::to_string(block) + " is lost on " + text_of(one.name));
  if (is_from_disk) return;
  if (one.tree->app.steps != steps_) violate(std::string("an old memory runs on ") + text_of(one.name));
}

/// The rule of docs/states.md: each record is on stable storage before the arrow below it starts.
void World::judge_message(Process& process, const Message& message) {
  if (process.is_dead()) throw Error(Errc::connection_lost, "the process is dead");
  if (process.name() == "somebody") return;
  const Host& here = process.host();
  const auto check = [&](MigrationId id, std::initializer_list<RecordType> allowed) {
    const auto newest = certain_type(here, id);
    if (!newest || std::find(allowed.begin(), allowed.end(), *newest) == allowed.end())
      violate(process.name() + " says " + std::string(name_of(message)) + " without the record for it");
  };
  if (const auto* go = std::get_if<Go>(&message)) {
    check(go->id, {RecordType::given});
    if (here.tree && !here.tree->is_frozen) violate(process.name() + " says Go while the container runs");
  }
  if (const auto* ready = std::get_if<Ready>(&message)) check(ready->id, {RecordType::prepared});
  if (const auto* running = std::get_if<Running>(&message)) check(running->id, {RecordType::owned});
  if (const auto* refused = std::get_if<Refused>(&message)) check(refused->id, {RecordType::refused});
  if (const auto* done = std::get_if<Done>(&message)) check(done->id, {RecordType::released});
}

void World::judge_release(Host& one, MigrationId id) {
  if (certain_type(one, id) != RecordType::released)
    violate(std::string(text_of(one.name)) + " destroys its copy without the record for it");
  if (certain_type(other_of(one), id) != RecordType::owned)
    violate(std::string(text_of(one.name)) + " destroys what the other side has not recorded as its own");
}

void World::judge_pause(Duration frozen) {
  if (frozen > plan_.options.freeze_timeout + kRollbackMax) violate("an abort takes too long");
}

void World::note_sent(Process& process, const Message& message) {
  ++result_.messages;
  tell([&] { return process.name() + " says " + std::string(name_of(message)); });
  if (is_word(message) && said_.size() < 64) said_.push_back({process.host().name, message});
}

void World::note_received(Process& process, const Message& message) {
  tell([&] { return process.name() + " hears " + std::string(name_of(message)); });
}

/// Both agents are up, nothing goes wrong any more, and everything has settled.
void World::check_end() {
  int running = 0;
  int owners = 0;
  for (Host& one : hosts_) {
    const std::string name = text_of(one.name);
    if (one.tree && one.tree->is_frozen) violate("the container stands still on " + name);
    running += one.tree.has_value();
    const bool owns = owns_by_journal(one);
    owners += owns;
    if (one.tree && !owns) violate("it runs on " + name + ", whose journal does not say so");
    if (!owns && one.image) violate(name + " still has an image under the container's name");
    if (owns && !one.image) violate(name + " owns the container and has no image of it");
    if (one.disk.file_count("/waybills") > 0) violate("a waybill is left on " + name);
    if (one.disk.has_locks()) violate("a lock is left on " + name);
  }
  if (owners != 1) violate(std::to_string(owners) + " hosts own the container");
  if (running > 1) violate("it runs on both hosts");
  if (network_.open_count() > 0) violate("a connection is left");
  std::map<MigrationId, std::array<std::optional<RecordType>, 2>> newest;
  for (std::size_t i = 0; i < 2; ++i)
    for (const Record& record : certain_records(hosts_[i])) newest[record.migration][i] = record.type;
  for (const auto& [id, types] : newest) {
    const auto is = [&types = types](std::optional<RecordType> one, std::optional<RecordType> two) {
      return (types[0] == one && types[1] == two) || (types[0] == two && types[1] == one);
    };
    const bool agree = is(RecordType::released, RecordType::owned) || is(RecordType::reclaimed, RecordType::refused) ||
                       is(std::nullopt, RecordType::refused);
    const auto text = [](std::optional<RecordType> type) { return type ? std::string(name_of(*type)) : "nothing"; };
    if (!agree) violate("the journals do not agree: alpha has " + text(types[0]) + ", beta " + text(types[1]));
  }
}

/// The container may have been lost with its host's power: then it is started from the disk of the side that owns it.
Ending World::judge_ending() {
  if (stands_still_) return Ending::stands_still;
  for (Host& one : hosts_)
    if (one.tree) {
      check_content(one, false);
      if (is_memory_lost_) return Ending::started_from_disk;
      return one.name == HostName::alpha ? Ending::aborted : Ending::migrated;
    }
  for (Host& one : hosts_)
    if (owns_by_journal(one)) start_tree(one, "starts it by hand");
  return Ending::started_from_disk;
}

}  // namespace vmigrate::sim

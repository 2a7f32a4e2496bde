// SPDX-License-Identifier: GPL-2.0-or-later
// Runs the real sessions, settlements, recovery and journals on two simulated hosts, and lets everything go wrong.
//
//   sim --seed N                    one run, told as a story; the same one each time
//   sim --seeds A..B [--jobs J]     all of them; exits 1 with the first that violates a rule, and its story
//   sim --survey A..B               all of them, whatever they violate; what, how often, and in which seed first
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <malloc.h>
#include <new>

#include "base/error.h"
#include "base/log.h"
#include "tests/sim/world.h"

namespace vmigrate::sim {
namespace {

constexpr std::size_t kJobsMax = 64;

/// A directory on tmpfs that goes away at the end.
class Directory {
 public:
  Directory() {
    std::string name = "/dev/shm/vmigrate-sim.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw Error(errno, "mkdtemp", name);
    path_ = name;
  }
  Directory(const Directory&) = delete;
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Outcome {
  Result result;
  std::string violation;
  std::vector<std::string> story;
};

Outcome run_seed(std::uint64_t seed, const std::filesystem::path& directory, bool has_story) {
  Random random(seed);
  const Plan plan = plan_of(random);
  World world(plan, random, directory);
  if (has_story) world.record_story();
  Outcome outcome;
  outcome.result = world.run();
  outcome.violation = world.violation();
  outcome.story = world.story();
  return outcome;
}

/// What one job has found; in memory that the jobs share.
struct Tally {
  std::uint64_t seed_under_way = 0;
  std::uint64_t runs = 0;
  std::array<std::uint64_t, kEndings> endings{};
  std::array<std::uint64_t, kDeeds> deeds{};
  std::uint64_t messages = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t simulated_seconds = 0;
  bool has_violation = false;
  std::uint64_t bad_seed = 0;

  void add(const Result& result) {
    ++runs;
    ++endings[static_cast<std::size_t>(result.ending)];
    for (std::size_t i = 0; i < deeds.size(); ++i) deeds[i] += result.deeds[i];
    messages += result.messages;
    acknowledged += result.acknowledged;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(result.time);
    simulated_seconds += static_cast<std::uint64_t>(seconds.count());
  }
  void add(const Tally& other) {
    runs += other.runs;
    for (std::size_t i = 0; i < endings.size(); ++i) endings[i] += other.endings[i];
    for (std::size_t i = 0; i < deeds.size(); ++i) deeds[i] += other.deeds[i];
    messages += other.messages;
    acknowledged += other.acknowledged;
    simulated_seconds += other.simulated_seconds;
    if (other.has_violation && (!has_violation || other.bad_seed < bad_seed)) {
      has_violation = true;
      bad_seed = other.bad_seed;
    }
  }
};

/// Which seed an assertion of ours failed in.
std::uint64_t g_seed = 0;
void say_seed(int) {
  std::array<char, 64> line{};
  const int length = std::snprintf(line.data(), line.size(), "aborted in seed %llu\n",
                                   static_cast<unsigned long long>(g_seed));
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), static_cast<std::size_t>(length));
}

void run_some(std::uint64_t first, std::uint64_t last, std::uint64_t step, Tally& tally) {
  const Directory directory;
  for (std::uint64_t seed = first; seed <= last && !tally.has_violation; seed += step) {
    g_seed = tally.seed_under_way = seed;
    const Outcome outcome = run_seed(seed, directory.path(), false);
    if (outcome.result.has_violation) {
      tally.has_violation = true;
      tally.bad_seed = seed;
    } else {
      tally.add(outcome.result);
    }
  }
}

void print(const Tally& tally, double seconds, std::size_t jobs) {
  const auto runs_per_second = static_cast<std::uint64_t>(static_cast<double>(tally.runs) / seconds);
  std::cout << tally.runs << " runs in " << seconds << " s, " << runs_per_second << " runs/s with " << jobs
            << " job(s); " << tally.simulated_seconds / 3600 << " h simulated, " << tally.messages << " messages, "
            << tally.acknowledged << " acknowledged writes\n  endings:";
  for (std::size_t i = 0; i < tally.endings.size(); ++i)
    std::cout << (i > 0 ? ", " : " ") << tally.endings[i] << " " << text_of(static_cast<Ending>(i));
  std::cout << "\n  faults:";
  for (std::size_t i = 0; i < tally.deeds.size(); ++i)
    std::cout << " " << text_of(static_cast<Deed>(i)) << " " << tally.deeds[i];
  std::cout << "\n  violations: " << (tally.has_violation ? 1 : 0) << std::endl;
}

int show(std::uint64_t seed) {
  const Directory directory;
  g_seed = seed;
  Random random(seed);
  const Plan plan = plan_of(random);
  std::cout << "seed " << seed << (plan.is_pull ? ": pull" : ": push") << (plan.has_command ? " by a command" : "")
            << "\n";
  for (const Fault& fault : plan.faults) std::cout << "  fault: " << text_of(fault) << "\n";
  const Outcome outcome = run_seed(seed, directory.path(), true);
  for (const std::string& line : outcome.story) std::cout << line << "\n";
  if (outcome.result.has_violation) {
    std::cout << "seed " << seed << " violates a rule: " << outcome.violation << std::endl;
    return 1;
  }
  std::cout << "seed " << seed << ": " << text_of(outcome.result.ending) << std::endl;
  return 0;
}

int run_range(std::uint64_t first, std::uint64_t last, std::size_t jobs) {
  const auto began = std::chrono::steady_clock::now();
  void* shared = ::mmap(nullptr, sizeof(Tally) * kJobsMax, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw Error(errno, "mmap");
  auto* tallies = static_cast<Tally*>(shared);
  bool has_crashed = false;
  if (jobs == 1) {
    run_some(first, last, 1, *new (tallies) Tally);
  } else {
    std::vector<pid_t> children;
    for (std::size_t job = 0; job < jobs; ++job) {
      new (tallies + job) Tally;
      const pid_t child = ::fork();
      if (child == 0) {
        run_some(first + job, last, jobs, tallies[job]);
        std::_Exit(0);
      }
      children.push_back(child);
    }
    for (const pid_t child : children) {
      int status = 0;
      ::waitpid(child, &status, 0);
      has_crashed = has_crashed || status != 0;
    }
  }
  Tally all;
  for (std::size_t job = 0; job < jobs; ++job) all.add(tallies[job]);
  print(all, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(), jobs);
  if (all.has_violation) return show(all.bad_seed);
  return has_crashed ? 1 : 0;
}

int survey(std::uint64_t first, std::uint64_t last) {
  const Directory directory;
  std::map<std::string, std::vector<std::uint64_t>> seeds;
  for (g_seed = first; g_seed <= last; ++g_seed) {
    const Outcome outcome = run_seed(g_seed, directory.path(), false);
    if (outcome.result.has_violation) seeds[outcome.violation].push_back(g_seed);
  }
  for (const auto& [violation, where] : seeds)
    std::cout << where.size() << " times, first in seed " << where.front() << ": " << violation << "\n";
  return seeds.empty() ? 0 : 1;
}

int usage() {
  std::cerr << "sim --seed N\nsim --seeds A..B [--jobs J]\nsim --survey A..B\n";
  return 2;
}

int run(int argc, char** argv) {
  set_log_level(LogLevel::none);
  // Buffers of a mebibyte come and go all the time: not from the kernel each time.
  ::mallopt(M_MMAP_THRESHOLD, 256 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 512 << 20);
  ::signal(SIGABRT, say_seed);
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::size_t jobs = 1;
  bool is_range = false;
  bool is_survey = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (i + 1 == argc) return usage();
    const std::string value = argv[++i];
    if (option == "--seed") first = last = std::stoull(value);
    else if (option == "--jobs") jobs = std::clamp<std::size_t>(std::stoull(value), 1, kJobsMax);
    else if ((option == "--seeds" || option == "--survey") && value.find("..") != std::string::npos) {
      is_range = true;
      is_survey = option == "--survey";
      first = std::stoull(value);
      last = std::stoull(value.substr(value.find("..") + 2));
    } else {
      return usage();
    }
  }
  if (argc < 3) return usage();
  if (is_survey) return survey(first, last);
  return is_range ? run_range(first, last, jobs) : show(first);
}

}  // namespace
}  // namespace vmigrate::sim

int main(int argc, char** argv) {
  try {
    return vmigrate::sim::run(argc, argv);
  } catch (const std::exception& failure) {
    std::cerr << "sim: " << failure.what() << std::endl;
    return 2;
  }
}

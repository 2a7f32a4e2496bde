// SPDX-License-Identifier: GPL-2.0-or-later
// Random writes of 4 KiB all over a device, and what live rounds send for them: by block, and what the same writes
// would cost a tracker of 64 KiB and 1 MiB. bench/granularity makes the device.
#include <sys/ioctl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "bench/direct_writer.h"
#include "bench/last_round.h"
#include "bench/null_sink.h"
#include "bench/own_loop.h"
#include "bench/quiet_volume.h"
#include "engine/tracker/bpf_write_tracker.h"
#include "engine/volume_copier.h"

using namespace vmigrate;

namespace {

struct Settings {
  std::string node;
  std::string image;
  unsigned rounds = 5;
  unsigned interval_ms = 1000;
  unsigned writers = 2;
  unsigned seed = 1;
  std::string directory = std::filesystem::temp_directory_path();
};

/// Which blocks were written in which interval; the writers know, nobody else is asked.
class RandomLoad {
 public:
  RandomLoad(const Settings& settings, std::uint64_t block_count) : block_count_(block_count) {
    written_.resize(settings.writers, std::vector<std::vector<std::uint64_t>>(settings.rounds + 1));
    for (unsigned n = 0; n < settings.writers; ++n)
      threads_.emplace_back([this, n, &settings] { write(n, settings.node, settings.seed + n); });
  }
  ~RandomLoad() { stop(); }

  /// What ends from now on belongs to the next interval.
  void next_interval() { ++interval_; }
  void stop() {
    is_over_ = true;
    for (auto& thread : threads_)
      if (thread.joinable()) thread.join();
    if (failure_) std::fprintf(stderr, "a writer failed: its figures are short\n");
  }
  /// Bytes that one interval dirtied when counted in units of `unit_blocks`. After stop().
  std::uint64_t bytes_dirtied(unsigned interval, std::uint64_t unit_blocks) const {
    std::vector<std::uint64_t> units;
    for (const auto& writer : written_)
      for (const auto block : writer[interval]) units.push_back(block / unit_blocks);
    std::sort(units.begin(), units.end());
    const auto distinct = std::unique(units.begin(), units.end()) - units.begin();
    return static_cast<std::uint64_t>(distinct) * unit_blocks * kBlockBytes;
  }
  bool has_failed() const { return failure_; }

 private:
  void write(unsigned number, const std::string& node, unsigned seed) noexcept {
    try {
      DirectWriter writer(node, seed);
      std::mt19937_64 random(seed);
      std::uniform_int_distribution<std::uint64_t> any(0, block_count_ - 1);
      while (!is_over_) {
        const auto block = any(random);
        writer.write({block});
        written_[number][interval_].push_back(block);
      }
    } catch (const std::exception& failure) {
      std::fprintf(stderr, "granularity_bench: %s\n", failure.what());
      failure_ = true;
    }
  }

  std::uint64_t block_count_;
  std::atomic<unsigned> interval_ = 0;
  std::atomic<bool> is_over_ = false;
  std::atomic<bool> failure_ = false;
  std::vector<std::vector<std::vector<std::uint64_t>>> written_;  ///< by writer and interval
  std::vector<std::thread> threads_;
};

/// Rounds under load, and the last one without; each sends what one interval dirtied.
std::vector<RoundStats> copy_live(const Settings& settings, VolumeCopier& copier, RandomLoad& load) {
  std::vector<RoundStats> rounds;
  for (unsigned n = 0; n < settings.rounds; ++n) {
    std::this_thread::sleep_for(std::chrono::milliseconds(settings.interval_ms));
    load.next_interval();
    rounds.push_back(run_on_own_loop(copier.copy_round()));
  }
  load.stop();
  const QuietVolume quiet;
  rounds.push_back(run_on_own_loop(copy_the_rest(copier, quiet)));
  return rounds;
}

double mebibytes(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void print_line(const char* what, std::uint64_t bytes, std::uint64_t dirtied) {
  std::printf("  %-34s %12.1f MiB  x %.3f\n", what, mebibytes(bytes),
              static_cast<double>(bytes) / static_cast<double>(dirtied));
}

void print(const Settings& settings, VolumeGeometry geometry, const RandomLoad& load,
           const std::vector<RoundStats>& rounds) {
  std::uint64_t in_blocks = 0, in_64k = 0, in_1m = 0, looked_at = 0, sent = 0;
  for (unsigned interval = 0; interval < rounds.size(); ++interval) {
    in_blocks += load.bytes_dirtied(interval, 1);
    in_64k += load.bytes_dirtied(interval, (64 << 10) / kBlockBytes);
    in_1m += load.bytes_dirtied(interval, (1 << 20) / kBlockBytes);
    looked_at += rounds[interval].blocks_dirty * kBlockBytes;
    sent += rounds[interval].data_bytes;
  }
  std::printf("image %.0f GiB, %zu rounds, %u writers, seed %u\n", mebibytes(geometry.bytes) / 1024, rounds.size(),
              settings.writers, settings.seed);
  print_line("dirtied, distinct blocks a round", in_blocks, in_blocks);
  print_line("re-sent", sent, in_blocks);
  print_line("looked at (the copier's dirty set)", looked_at, in_blocks);
  print_line("at 64 KiB it would be", in_64k, in_blocks);
  print_line("at 1 MiB it would be", in_1m, in_blocks);
}

int measure(const Settings& settings) {
  asio::thread_pool pool(2);
  FileVolume volume(open_source(pool, settings.image));
  const auto geometry = volume.geometry();
  NullSink sink;
  DigestIndex digests(geometry, settings.directory);
  SteadyClock clock;
  BpfWriteTracker tracker(pool, settings.node);
  const CopyLane lane{&sink};
  VolumeCopier copier({tracker, volume, sink, digests, clock, pool, {&lane, 1}});
  run_on_own_loop(copier.copy_round());
  RandomLoad load(settings, geometry.block_count());
  const auto rounds = copy_live(settings, copier, load);
  print(settings, geometry, load, rounds);
  return load.has_failed() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("What random writes of 4 KiB cost in bytes re-sent");
  app.add_option("NODE", settings.node, "the device")->required();
  app.add_option("IMAGE", settings.image, "the file behind it")->required();
  app.add_option("--rounds", settings.rounds, "live rounds")->check(CLI::PositiveNumber);
  app.add_option("--interval-ms", settings.interval_ms, "from the end of a round to the next");
  app.add_option("--writers", settings.writers)->check(CLI::PositiveNumber);
  app.add_option("--seed", settings.seed);
  app.add_option("--directory", settings.directory, "for the digests");
  CLI11_PARSE(app, argc, argv);
  try {
    return measure(settings);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "granularity_bench: %s\n", failure.what());
    return 1;
  }
}

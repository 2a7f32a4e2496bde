// SPDX-License-Identifier: GPL-2.0-or-later
// A migration's copying of one huge sparse volume, both sides, with the real tracker, copier, lanes and digests:
// how long rounds and scans take and how much memory each side needs. The destination is a process of its own.
// bench/scale makes the device, and says what the columns of the one line printed are.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>

#include "bench/direct_writer.h"
#include "bench/last_round.h"
#include "bench/own_loop.h"
#include "bench/quiet_volume.h"
#include "bench/round_ends.h"
#include "bench/tracker_map.h"
#include "engine/image_sink.h"
#include "engine/tracker/bpf_write_tracker.h"
#include "migrate/remote_barrier.h"
#include "transport/endpoint.h"
#include "transport/pki.h"

using namespace vmigrate;

namespace {

constexpr std::size_t kPoolThreads = 4;
constexpr int kScans = 5;
constexpr std::size_t kLanes = 1;

struct Settings {
  std::string node;
  std::string image;
  std::string copy;
  double fraction = 0.01;
  unsigned seed = 1;
  std::string directory = "/var/tmp";
};

/// On a busy machine the first says little.
struct Scan {
  double milliseconds = 0;
  double cpu_milliseconds = 0;
  bool operator<(const Scan& other) const { return milliseconds < other.milliseconds; }
};

struct Figures {
  RoundStats first, live, last;
  Scan scan;        ///< the longest drain of these rounds
  Scan whole_scan;  ///< of the map with that fraction of all its bits set, anywhere
  std::uint64_t blocks_written = 0;
  std::uint64_t map_bytes = 0;
  double source_mib = 0;
  double destination_mib = 0;
};

double seconds_of(Duration duration) { return std::chrono::duration<double>(duration).count(); }
double mebibytes(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

/// The most memory that this process ever had: what it has now counts for what went before, too.
double peak_mib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

double milliseconds_now(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

/// The kernel's tracker, and how long its drains take. Nothing else runs in this process meanwhile.
class TimedTracker final : public WriteTracker {
 public:
  TimedTracker(asio::thread_pool& pool, const std::string& node) : tracker_(pool, node) {}
  std::string_view name() const override { return tracker_.name(); }
  VolumeGeometry geometry() const override { return tracker_.geometry(); }
  Task<> drain_into(DirtySet& out) override {
    const auto wall = milliseconds_now(CLOCK_MONOTONIC);
    const auto cpu = milliseconds_now(CLOCK_PROCESS_CPUTIME_ID);
    co_await tracker_.drain_into(out);
    last_ = {milliseconds_now(CLOCK_MONOTONIC) - wall, milliseconds_now(CLOCK_PROCESS_CPUTIME_ID) - cpu};
    longest_ = std::max(longest_, last_);
  }
  Task<> drain_rest_into(DirtySet& out, const QuietVolume& quiet) override {
    co_await tracker_.drain_rest_into(out, quiet);
  }
  Scan last() const { return last_; }
  Scan longest() const { return longest_; }

 private:
  BpfWriteTracker tracker_;
  Scan last_;
  Scan longest_;
};

// --- the destination ------------------------------------------------------------------------------------------------

Task<> receive_rounds(Listener& listener, const Settings& settings, VolumeGeometry geometry) {
  asio::thread_pool pool(kPoolThreads);
  const auto executor = co_await asio::this_coro::executor;
  SteadyClock clock;
  const auto first = co_await listener.accept();
  std::vector<std::unique_ptr<Channel>> channels;
  while (channels.size() < kLanes) channels.push_back(co_await listener.accept());
  const auto sink = create_image_sink(pool, settings.copy, geometry, 0);
  DigestIndex digests(geometry, settings.directory);
  IncomingLanes lanes(executor, std::move(channels), {*sink, digests, geometry, clock, {}});
  const Copy copy{lanes, *sink, digests};
  co_await acknowledge_rounds_and_end(*first, copy);
  listener.close();
}

/// Tells its port, receives everything, tells its memory.
int run_destination(const Settings& settings, VolumeGeometry geometry, const TlsContext& tls, int tell) {
  asio::io_context loop(1);
  const auto listener = listen(loop.get_executor(), {"127.0.0.1", 0}, tls);
  const auto port = listener->local_endpoint().port;
  check_syscall(::write(tell, &port, sizeof port), "write");
  std::exception_ptr failure;
  asio::co_spawn(loop, receive_rounds(*listener, settings, geometry), [&](std::exception_ptr thrown) {
    failure = thrown;
    if (thrown) loop.stop();
  });
  loop.run();
  if (failure) std::rethrow_exception(failure);
  const double peak = peak_mib();
  check_syscall(::write(tell, &peak, sizeof peak), "write");
  return 0;
}

// --- the source -----------------------------------------------------------------------------------------------------

/// Rewrites about `fraction` of the blocks that hold data, each with the same chance.
std::uint64_t dirty(const Settings& settings, BlockSource& volume) {
  DirectWriter writer(settings.node, settings.seed);
  std::mt19937_64 random(settings.seed);
  std::bernoulli_distribution is_hit(settings.fraction);
  std::uint64_t written = 0;
  for (auto data = volume.next_data({0}); data; data = volume.next_data(data->end()))
    for (auto at = data->first; at < data->end(); ++at.value) {
      if (!is_hit(random)) continue;
      writer.write(at);
      ++written;
    }
  return written;
}

Task<> send_rounds(Endpoint to, const TlsContext& tls, const Settings& settings, Figures& figures) {
  asio::thread_pool pool(kPoolThreads);
  SteadyClock clock;
  Cancellation cancellation;
  TimedTracker tracker(pool, settings.node);
  FileVolume volume(open_source(pool, settings.image));
  DigestIndex digests(volume.geometry(), settings.directory);
  const auto first = co_await connect(to, tls);
  std::vector<std::unique_ptr<Channel>> channels;
  while (channels.size() < kLanes) channels.push_back(co_await connect(to, tls));
  Pacer pacer(clock, 0);
  OutgoingLanes lanes(std::move(channels), {Compression::none, pacer, {}});
  RemoteBarrier barrier({*first, digests, cancellation, lanes});
  VolumeCopier copier({tracker, volume, barrier, digests, clock, pool, lanes.copy_lanes()});
  figures.first = co_await copier.copy_round();
  figures.blocks_written = dirty(settings, volume);
  figures.live = co_await copier.copy_round();
  figures.scan = tracker.longest();
  barrier.set_round_kind(RoundKind::final);
  const QuietVolume quiet;
  figures.last = co_await copy_the_rest(copier, quiet);
  const Message done = Done{};
  co_await first->send(done);
  figures.source_mib = peak_mib();
}

/// The worst that the map can be: nobody can write half of 16 TiB, so its bits are set by hand.
void scan_whole_map(const Settings& settings, Figures& figures) {
  asio::thread_pool pool(1);
  TimedTracker tracker(pool, settings.node);
  const TrackerMap map(settings.node);
  figures.map_bytes = map.bytes();
  std::vector<Scan> scans;
  for (int n = 0; n < kScans; ++n) {
    map.set_random_bits(settings.fraction, settings.seed + n);
    DirtySet set(tracker.geometry().block_count());
    run_on_own_loop(tracker.drain_into(set));
    scans.push_back(tracker.last());
  }
  std::sort(scans.begin(), scans.end());
  figures.whole_scan = scans[kScans / 2];
}

template <typename T>
T told(int from) {
  T value{};
  if (check_syscall(::read(from, &value, sizeof value), "read") != sizeof value)
    throw Error(Errc::internal, "the destination has died");
  return value;
}

Figures run_source(const Settings& settings, const TlsContext& tls, int from_destination) {
  Figures figures;
  const Endpoint to{"127.0.0.1", told<std::uint16_t>(from_destination)};
  run_on_own_loop(send_rounds(to, tls, settings, figures));
  figures.destination_mib = told<double>(from_destination);
  scan_whole_map(settings, figures);
  return figures;
}

void print(const Settings& settings, VolumeGeometry geometry, const Figures& figures) {
  std::printf("%6.0f %6.3f %8.1f %8.2f %8.3f %7.3f %8.1f %9.1f %7.1f %7.1f %7.1f %7.1f %6.1f %6.1f %6.1f\n",
              mebibytes(geometry.bytes) / 1024, settings.fraction,
              mebibytes(figures.blocks_written * kBlockBytes), seconds_of(figures.first.duration),
              seconds_of(figures.live.duration), seconds_of(figures.last.duration),
              mebibytes(figures.live.data_bytes), mebibytes(figures.live.blocks_dirty * kBlockBytes),
              figures.scan.milliseconds, figures.scan.cpu_milliseconds, figures.whole_scan.milliseconds,
              figures.whole_scan.cpu_milliseconds, figures.source_mib, figures.destination_mib,
              mebibytes(figures.map_bytes));
}

/// Both sides' certificates, in memory when this returns.
struct Identities {
  TlsContext source;
  TlsContext destination;
};

Identities make_identities() {
  std::string pattern = (std::filesystem::temp_directory_path() / "vmigrate-bench-XXXXXX").string();
  const std::filesystem::path directory = ::mkdtemp(pattern.data());
  create_authority(directory / "ca");
  for (const char* host : {"alpha", "beta"})
    issue_certificates(directory / "ca", directory / host, {host, {"IP:127.0.0.1"}});
  Identities identities{TlsContext(directory / "alpha"), TlsContext(directory / "beta")};
  std::filesystem::remove_all(directory);
  return identities;
}

int measure(const Settings& settings) {
  const auto identities = make_identities();
  const VolumeGeometry geometry{std::filesystem::file_size(settings.image)};
  int ends[2];
  check_syscall(::pipe(ends), "pipe");
  UniqueFd from_destination(ends[0]), to_source(ends[1]);
  const auto destination = check_syscall(::fork(), "fork");
  if (destination == 0) {
    from_destination.reset();
    return run_destination(settings, geometry, identities.destination, to_source.get());
  }
  to_source.reset();
  const auto figures = run_source(settings, identities.source, from_destination.get());
  ::waitpid(destination, nullptr, 0);
  print(settings, geometry, figures);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Rounds, scans and memory for one huge sparse volume");
  app.add_option("NODE", settings.node, "the device")->required();
  app.add_option("IMAGE", settings.image, "the file behind it")->required();
  app.add_option("COPY", settings.copy, "the destination's image, which must not be there yet")->required();
  app.add_option("--fraction", settings.fraction, "of the data that is rewritten between the rounds");
  app.add_option("--seed", settings.seed);
  app.add_option("--directory", settings.directory, "for the digests of both sides");
  CLI11_PARSE(app, argc, argv);
  try {
    return measure(settings);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "scale_bench: %s\n", failure.what());
    return 1;
  }
}

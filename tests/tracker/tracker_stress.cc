// SPDX-License-Identifier: GPL-2.0-or-later
// Copies devices while they are written as hard as fio can, and compares source and copy byte by byte.
//
//   tracker_stress [--iterations 50] [--seed 1] [--load-ms 1000] [--mark-at completion|issue] [--directory DIR]
//
// Each iteration arms the kernel's tracker, runs rounds of the real VolumeCopier under load, stops the load, quiesces,
// runs the last round and compares. A tracker that says it lost track and is repaired by copy_differences() has done
// its duty; it is counted. Exits 1 after a mismatch, 77 where it cannot run.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <random>
#include <thread>

#include <CLI/CLI.hpp>
#include <boost/asio/thread_pool.hpp>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/subprocess.h"
#include "engine/device_volume.h"
#include "engine/tracker/bpf_write_tracker.h"
#include "engine/volume_copier.h"
#include "tests/support/run_task.h"
#include "tests/tracker/scratch_device.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

struct Settings {
  unsigned iterations = 50;
  unsigned seed = 1;
  unsigned load_ms = 1000;
  std::string mark_at = "completion";
  fs::path directory = fs::temp_directory_path();
};

enum class Kind { ext4_on_loop, xfs_on_loop, raw_loop, raw_zram };
constexpr const char* kKindNames[] = {"ext4/loop", "xfs/loop", "raw loop", "raw zram"};
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kXfsBytes = 320 * kMiB;  // mkfs.xfs refuses less than 300 MiB
constexpr std::uint64_t kOtherBytes = 96 * kMiB;

struct Outcome {
  unsigned rounds = 0;
  std::uint64_t copied_bytes = 0;
  std::uint64_t blocks_differing = 0;
  std::uint64_t blocks_discarded_late = 0;  ///< after the last round
  std::string loss;  ///< why the tracker gave up; empty if it did not
};

/// A file system made and mounted on a scratch device; nothing for a raw device.
class Mount {
 public:
  Mount(Kind kind, const fs::path& node, const fs::path& directory) {
    if (kind != Kind::ext4_on_loop && kind != Kind::xfs_on_loop) return;
    file_system_ = kind == Kind::ext4_on_loop ? "ext4" : "xfs";
    // Blocks of 4 KiB, so that a late discard (see judge) clears whole blocks: mkfs.ext4 takes 1 KiB for small devices.
    Command mkfs{.argv = {"mkfs.xfs", "-q", "-f", node.string()}};
    if (kind == Kind::ext4_on_loop) mkfs.argv = {"mkfs.ext4", "-q", "-F", "-b", "4096", node.string()};
    run_checked(mkfs, Errc::internal);
    point_ = directory / "mnt";
    fs::create_directory(point_);
    check_syscall(::mount(node.c_str(), point_.c_str(), file_system_.c_str(), 0, "discard"), "mount", point_.native());
  }
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;
  ~Mount() {
    for (int attempt = 0; !point_.empty() && ::umount(point_.c_str()) != 0 && attempt < 50; ++attempt)
      std::this_thread::sleep_for(20ms);
  }
  const fs::path& point() const { return point_; }
  const std::string& file_system() const { return file_system_; }

 private:
  std::string file_system_;
  fs::path point_;
};

/// fio, and beside it what fio does not do: discards, zeroes, files that come and go, fstrim.
class Load {
 public:
  Load(const Settings& settings, const fs::path& node, const fs::path& mount_point, std::uint64_t bytes, unsigned seed)
      : node_(node), mount_point_(mount_point), bytes_(bytes), random_(seed), fio_(fio_command(settings, seed)) {
    threads_.emplace_back([this] { run_fio(); });
    threads_.emplace_back([this] { mount_point_.empty() ? clear_ranges() : churn_files(); });
  }
  ~Load() {
    for (auto& thread : threads_) thread.join();
  }
  bool is_over() const { return is_over_; }
  /// What fio complained about; read it when the load is over.
  const std::string& failure() const { return failure_; }

 private:
  /// Buffered and direct writes do not share a range: the kernel answers collisions with EIO.
  Command fio_command(const Settings& settings, unsigned seed) const {
    const bool is_raw = mount_point_.empty();
    const std::string half = std::to_string(is_raw ? bytes_ / 2 : 24 * kMiB);
    const std::string offset_of_buffered = "--offset=" + (is_raw ? half : "0");
    const auto file = [&](const char* name) { return "--filename=" + (is_raw ? node_ : mount_point_ / name).string(); };
    Command command;
    const std::string runtime = "--runtime=" + std::to_string(settings.load_ms) + "ms";
    command.argv = {"fio", "--minimal", "--thread", "--time_based", runtime, "--randseed=" + std::to_string(seed)};
    const auto add = [&command](std::initializer_list<std::string> options) {
      command.argv.insert(command.argv.end(), options);
    };
    add({"--randrepeat=0", "--norandommap", "--fallocate=none", "--size=" + half, "--rw=randwrite"});
    add({"--name=direct", file("direct"), "--direct=1", "--ioengine=libaio", "--iodepth=16", "--bsrange=4k-128k"});
    add({"--name=buffered", file("buffered"), offset_of_buffered, "--bsrange=4k-64k", "--fsync=32"});
    if (is_raw) add({"--name=trim", file(""), "--rw=randtrim", "--bsrange=64k-1m", "--rate_iops=200"});
    else add({"--name=mapped", file("buffered"), "--ioengine=mmap", "--bsrange=4k-16k", "--fsync=64"});
    return command;
  }

  void run_fio() {
    try {
      const auto result = run_command(fio_);
      if (result.exit_status != 0) failure_ = "fio: " + result.errors;
    } catch (const Error& failure) {
      failure_ = failure.what();
    }
    is_over_ = true;
  }

  void clear_ranges() {
    DirectWriter writer(node_);
    const auto blocks = bytes_ / kBlockBytes;
    while (!is_over_) {
      const std::uint64_t first = random_() % blocks;
      const Extent extent{{first}, std::min<std::uint64_t>(1 + random_() % 256, blocks - first)};
      if (random_() % 2 == 0) writer.write_zeroes(extent);
      else writer.discard(extent);
      std::this_thread::sleep_for(1ms);
    }
  }

  void churn_files() {
    const UniqueFd mount(::open(mount_point_.c_str(), O_RDONLY | O_CLOEXEC));
    for (unsigned n = 0; !is_over_; ++n) {
      const fs::path path = mount_point_ / ("file" + std::to_string(n % 40));
      std::ofstream(path) << std::string(4096 + random_() % 200000, static_cast<char>('a' + n % 26));
      std::error_code ignored;
      if (n % 3 == 0) fs::remove(mount_point_ / ("file" + std::to_string(random_() % 40)), ignored);
      fstrim_range range{0, UINT64_MAX, 0};
      if (n % 100 == 99) ::ioctl(mount.get(), FITRIM, &range);
      std::this_thread::sleep_for(1ms);
    }
  }

  fs::path node_;
  fs::path mount_point_;
  std::uint64_t bytes_;
  std::minstd_rand random_;
  Command fio_;
  std::atomic<bool> is_over_ = false;
  std::string failure_;
  std::vector<std::thread> threads_;
};

bool is_loss(const Error& failure) { return failure.code() == Errc::tracking_lost; }

Task<std::string> copy_one_round(VolumeCopier& copier, Outcome& outcome) {
  try {
    const auto stats = co_await copier.copy_round();
    ++outcome.rounds;
    outcome.copied_bytes += stats.data_bytes;
  } catch (const Error& failure) {
    if (!is_loss(failure)) throw;
    co_return failure.what();
  }
  co_return std::string();
}

Task<> copy_the_rest(VolumeCopier& copier, const QuietVolume& quiet, Outcome& outcome) {
  try {
    if (outcome.loss.empty()) co_await copier.copy_final_round(quiet);
  } catch (const Error& failure) {
    if (!is_loss(failure)) throw;
    outcome.loss = failure.what();
  }
  if (!outcome.loss.empty()) co_await copier.copy_differences();
}

bool is_zero(std::span<const std::byte> block) {
  return std::all_of(block.begin(), block.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

struct Difference {
  BlockIndex block;
  bool is_zero_on_device;
};

/// Reads the device itself, by another way than the copier did.
std::vector<Difference> compare(const fs::path& node, const fs::path& copy, VolumeGeometry geometry) {
  DirectWriter device(node);
  std::ifstream file(copy, std::ios::binary);
  std::vector<std::byte> ours(kMiB), theirs(kMiB);
  std::vector<Difference> differences;
  for (BlockIndex at{0}; at.value < geometry.block_count(); at.value += kMiB / kBlockBytes) {
    device.read({at, kMiB / kBlockBytes}, ours);
    file.read(reinterpret_cast<char*>(theirs.data()), kMiB);
    for (std::size_t i = 0; i < kMiB / kBlockBytes; ++i) {
      const auto block = std::span(ours).subspan(i * kBlockBytes, kBlockBytes);
      if (std::memcmp(block.data(), theirs.data() + i * kBlockBytes, kBlockBytes) == 0) continue;
      differences.push_back({{at.value + i}, is_zero(block)});
    }
  }
  return differences;
}

/// ext4 discards freed blocks in the background, even while it is held, and so after the last round. Such a block holds
/// nothing; it reads as zeroes, and the tracker, asked after the comparison, has seen it. Only that excuses it.
void judge(Outcome& outcome, const std::vector<Difference>& differences, WriteTracker& tracker) {
  DirtySet late(tracker.geometry().block_count());
  if (!differences.empty()) run_task(tracker.drain_into(late));
  for (const auto& difference : differences) {
    const bool is_late_discard = difference.is_zero_on_device && late.contains(difference.block);
    ++(is_late_discard ? outcome.blocks_discarded_late : outcome.blocks_differing);
  }
}

std::unique_ptr<ScratchDevice> make_device(Kind kind, const fs::path& directory) {
  if (kind == Kind::raw_zram) return std::make_unique<ZramDevice>(kOtherBytes);
  return std::make_unique<LoopDevice>(kind == Kind::xfs_on_loop ? kXfsBytes : kOtherBytes, directory);
}

std::unique_ptr<Volume> open_stressed_volume(asio::thread_pool& pool, const ScratchDevice& device, const Mount& mount) {
  if (mount.point().empty()) return open_scratch_volume(device, {});
  return open_volume(pool, {device.node(), mount.point(), mount.file_system(), device.file()});
}

Outcome stress_once(const Settings& settings, Kind kind, unsigned seed) {
  ScratchDirectory directory(settings.directory);
  const auto device = make_device(kind, directory.path());
  const Mount mount(kind, device->node(), directory.path());
  asio::thread_pool pool(2);
  const auto volume = open_stressed_volume(pool, *device, mount);
  const auto geometry = volume->geometry();
  const auto copy = directory.path() / "copy";
  const auto sink = create_image_sink(pool, copy, geometry, 0);
  DigestIndex digests(geometry, directory.path());
  SteadyClock clock;
  Outcome outcome;

  const auto mark_at =
      settings.mark_at == "issue" ? BpfWriteTracker::MarkAt::issue : BpfWriteTracker::MarkAt::completion;
  BpfWriteTracker tracker(pool, device->node(), {.mark_at = mark_at});
  const CopyLane lane{sink.get()};
  VolumeCopier copier({tracker, *volume, *sink, digests, clock, pool, {&lane, 1}});
  // Only now: a tracker armed on a still device notices every sector that the kernel counts and it did not see.
  std::optional<Load> load(std::in_place, settings, device->node(), mount.point(), geometry.bytes, seed);
  while (!load->is_over()) {
    if (outcome.loss.empty()) outcome.loss = run_task(copy_one_round(copier, outcome));
    else std::this_thread::sleep_for(10ms);
  }
  const std::string load_failure = load->failure();
  load.reset();
  if (!load_failure.empty()) throw Error(Errc::internal, load_failure);

  const auto quiet = run_task(volume->quiesce());
  run_task(copy_the_rest(copier, *quiet, outcome));
  judge(outcome, compare(device->node(), copy, geometry), tracker);
  return outcome;
}

int stress(const Settings& settings) {
  unsigned mismatches = 0, losses = 0;
  for (unsigned n = 0; n < settings.iterations; ++n) {
    const auto kind = static_cast<Kind>(n % (has_zram() ? 4 : 3));
    const auto outcome = stress_once(settings, kind, settings.seed + n);
    mismatches += outcome.blocks_differing != 0;
    losses += !outcome.loss.empty();
    std::printf("iteration %2u %-9s seed %u: %3u rounds, %5.0f MiB copied, %llu blocks differ, "
                "%llu discarded late%s%s\n",
                n + 1, kKindNames[static_cast<int>(kind)], settings.seed + n, outcome.rounds,
                static_cast<double>(outcome.copied_bytes) / static_cast<double>(kMiB),
                static_cast<unsigned long long>(outcome.blocks_differing),
                static_cast<unsigned long long>(outcome.blocks_discarded_late), outcome.loss.empty() ? "" : ", ",
                outcome.loss.c_str());
    std::fflush(stdout);
  }
  std::printf("%u iterations, %u mismatches, %u losses detected and repaired, seed %u\n", settings.iterations,
              mismatches, losses, settings.seed);
  return mismatches == 0 ? 0 : 1;
}

}  // namespace
}  // namespace vmigrate

int main(int argc, char** argv) {
  vmigrate::Settings settings;
  CLI::App app("Copies devices under load with the kernel's write tracker and compares byte by byte");
  app.add_option("--iterations", settings.iterations);
  app.add_option("--seed", settings.seed);
  app.add_option("--load-ms", settings.load_ms);
  app.add_option("--mark-at", settings.mark_at)->check(CLI::IsMember({"completion", "issue"}));
  app.add_option("--directory", settings.directory);
  CLI11_PARSE(app, argc, argv);
  if (const auto reason = vmigrate::reason_to_skip_root_tests()) {
    std::printf("SKIPPED: %s\n", reason->c_str());
    return 77;
  }
  try {
    return vmigrate::stress(settings);
  } catch (const std::exception& failure) {
    std::cerr << "tracker_stress: " << failure.what() << "\n";
    return 1;
  }
}

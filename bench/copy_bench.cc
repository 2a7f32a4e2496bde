// SPDX-License-Identifier: GPL-2.0-or-later
// A local live copy, image file to image file, through the same copier as a migration. See bench/README.md.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "base/clock.h"
#include "bench/null_sink.h"
#include "bench/patient_loop.h"
#include "bench/quiet_volume.h"
#include "engine/device_volume.h"
#include "engine/volume_copier.h"

using namespace vmigrate;

namespace {

constexpr double kBytesPerGigabyte = 1e9;

struct Measured {
  double seconds = 0;
  double cpu_seconds = 0;
  std::uint64_t bytes = 0;
};

double cpu_seconds_so_far() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Runs `work`, which returns the bytes it moved.
Measured measure(const std::function<Task<std::uint64_t>()>& work) {
  Measured measured;
  asio::io_context loop(1);
  std::exception_ptr failure;
  const auto cpu_before = cpu_seconds_so_far();
  const auto start = std::chrono::steady_clock::now();
  asio::co_spawn(loop, work(), [&](std::exception_ptr thrown, std::uint64_t bytes) {
    failure = thrown;
    measured.bytes = bytes;
  });
  loop.run();
  measured.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  measured.cpu_seconds = cpu_seconds_so_far() - cpu_before;
  if (failure) std::rethrow_exception(failure);
  return measured;
}

/// The floor: the same extents of the same file, read in order into one buffer and thrown away.
Task<std::uint64_t> only_read(BlockSource& source) {
  std::vector<std::byte> buffer(kExtentBlocksMax * kBlockBytes);
  std::uint64_t bytes = 0;
  for (auto data = source.next_data({0}); data; data = source.next_data(data->end())) {
    for (auto at = data->first; at < data->end();) {
      const Extent extent{at, std::min(kExtentBlocksMax, data->end().value - at.value)};
      co_await source.read(extent, std::span(buffer).first(extent.bytes()));
      bytes += extent.bytes();
      at = extent.end();
    }
  }
  co_return bytes;
}

Task<std::uint64_t> copy_once(VolumeCopier& copier) {
  const auto stats = co_await copier.copy_round();
  co_return stats.data_bytes;
}

/// One round 1 from `image` into `sink`, with everything new.
Measured copy(asio::thread_pool& pool, const std::filesystem::path& image, BlockSink& sink) {
  FileVolume volume(open_source(pool, image));
  NullTracker tracker(volume.geometry());
  DigestIndex digests(volume.geometry(), std::filesystem::temp_directory_path());
  SteadyClock clock;
  PatientLoop loop;
  const CopyLane lane{&sink, loop.executor()};
  VolumeCopier copier({tracker, volume, sink, digests, clock, pool, {&lane, 1}});
  return measure([&] { return copy_once(copier); });
}

void print(std::string_view name, const Measured& measured, const Measured& floor) {
  const auto gigabytes = static_cast<double>(measured.bytes) / kBytesPerGigabyte;
  std::printf("sink=%.*s bytes=%llu seconds=%.3f rate=%.2fGB/s cpu=%.2fs/GB floor=%.2fGB/s ratio_to_floor=%.2f\n",
              static_cast<int>(name.size()), name.data(), static_cast<unsigned long long>(measured.bytes),
              measured.seconds, gigabytes / measured.seconds, measured.cpu_seconds / gigabytes,
              static_cast<double>(floor.bytes) / kBytesPerGigabyte / floor.seconds, measured.seconds / floor.seconds);
}

Measured measure_floor(asio::thread_pool& pool, const std::filesystem::path& image) {
  const auto source = open_source(pool, image);
  return measure([&] { return only_read(*source); });
}

void run_once(asio::thread_pool& pool, const std::filesystem::path& image, const std::filesystem::path& copy_path) {
  const auto floor = measure_floor(pool, image);
  NullSink nothing;
  print("null", copy(pool, image, nothing), floor);
  const auto geometry = open_source(pool, image)->geometry();
  const auto file = create_image_sink(pool, copy_path, geometry, 0);
  print("image", copy(pool, image, *file), floor);
  std::filesystem::remove(copy_path);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: copy_bench IMAGE COPY [RUNS]\n", stderr);
    return 2;
  }
  try {
    asio::thread_pool pool(2);
    const int runs = argc > 3 ? std::atoi(argv[3]) : 3;
    for (int run = 0; run < runs; ++run) run_once(pool, argv[1], argv[2]);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "copy_bench: %s\n", failure.what());
    return 1;
  }
  return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
// Reading and writing an image in pieces of 1 MiB, as lanes do: through the page cache, warm and dropped, with more
// readahead, and past it with O_DIRECT; by one thread and by several that take turns. Each way once in a repetition.
// Usage: disk_bench DIRECTORY [GiB] [repetitions]
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

using namespace vmigrate;

namespace {

constexpr std::size_t kPieceBytes = 1 << 20;
constexpr std::size_t kAlignment = 4096;
constexpr unsigned kLanes = 4;

struct Free {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using Piece = std::unique_ptr<std::byte[], Free>;

Piece aligned_piece() { return Piece(static_cast<std::byte*>(std::aligned_alloc(kAlignment, kPieceBytes))); }

struct File {
  std::filesystem::path path;
  std::uint64_t pieces;

  UniqueFd open(int flags) const {
    return UniqueFd(check_syscall(::open(path.c_str(), flags | O_CLOEXEC, 0600), "open", path.native()));
  }
};

/// Each thread does the next piece as soon as it has done its last one; several share one descriptor.
void share(const File& file, unsigned threads, const std::function<void(std::byte*, off_t)>& work) {
  std::atomic<std::uint64_t> next = 0;
  std::vector<std::future<void>> running;   // each waits for its thread, also when another one has failed
  for (unsigned i = 0; i < threads; ++i)
    running.push_back(std::async(std::launch::async, [&] {
      const Piece buffer = aligned_piece();
      std::fill_n(buffer.get(), kPieceBytes, std::byte{0x5a});
      for (std::uint64_t piece = next++; piece < file.pieces; piece = next++)
        work(buffer.get(), static_cast<off_t>(piece * kPieceBytes));
    }));
  for (std::future<void>& one : running) one.get();
}

void must_be_whole(ssize_t done, const char* what) {
  if (static_cast<std::size_t>(check_syscall(done, what)) != kPieceBytes)
    throw Error(Errc::copy_failed, std::string(what) + " did less than was asked");
}

// --- reading ---------------------------------------------------------------------------------------------------------

enum class Cache { warm, dropped, past };

void drop_from_cache(const File& file) {
  const UniqueFd fd = file.open(O_RDONLY);
  check_syscall(::fdatasync(fd.get()), "fdatasync");
  if (::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED) != 0) throw Error(Errc::internal, "fadvise is refused");
  const Piece buffer = aligned_piece();
  const iovec into{buffer.get(), kPieceBytes};
  const auto middle = static_cast<off_t>(file.pieces / 2 * kPieceBytes);
  if (::preadv2(fd.get(), &into, 1, middle, RWF_NOWAIT) >= 0 || errno != EAGAIN)
    throw Error(Errc::internal, file.path.native() + " stays in the page cache here: try another directory");
}

void read_through_cache(const File& file) {
  const UniqueFd fd = file.open(O_RDONLY);
  share(file, 1, [&](std::byte* into, off_t at) { must_be_whole(::pread(fd.get(), into, kPieceBytes, at), "pread"); });
}

struct Reading {
  Cache cache = Cache::warm;
  bool announces = false;   ///< POSIX_FADV_SEQUENTIAL
  unsigned threads = 1;
};

std::function<void()> prepare(const File& file, const Reading& way) {
  if (way.cache == Cache::warm) return [&file] { read_through_cache(file); };
  return [&file] { drop_from_cache(file); };
}

void read_all(const File& file, const Reading& way) {
  const UniqueFd fd = file.open(O_RDONLY | (way.cache == Cache::past ? O_DIRECT : 0));
  if (way.announces) ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  share(file, way.threads,
        [&](std::byte* into, off_t at) { must_be_whole(::pread(fd.get(), into, kPieceBytes, at), "pread"); });
}

// --- writing ---------------------------------------------------------------------------------------------------------

enum class WriteBack { at_the_end, at_once, direct };

void write_all(const File& file, WriteBack way, unsigned threads) {
  const UniqueFd fd = file.open(O_WRONLY | O_CREAT | O_TRUNC | (way == WriteBack::direct ? O_DIRECT : 0));
  check_syscall(::ftruncate(fd.get(), static_cast<off_t>(file.pieces * kPieceBytes)), "ftruncate");
  share(file, threads, [&](std::byte* from, off_t at) {
    must_be_whole(::pwrite(fd.get(), from, kPieceBytes, at), "pwrite");
    if (way == WriteBack::at_once) ::sync_file_range(fd.get(), at, kPieceBytes, SYNC_FILE_RANGE_WRITE);
  });
  check_syscall(::fdatasync(fd.get()), "fdatasync");
}

// --- all ways in turn ------------------------------------------------------------------------------------------------

struct Way {
  std::string name;
  std::function<void()> prepare;
  std::function<void()> run;
  std::vector<double> seconds = {};
};

std::string by(unsigned threads) { return threads == 1 ? ", 1 thread" : ", " + std::to_string(threads) + " threads"; }

void add_reading(std::vector<Way>& ways, const File& file, const std::string& name, Reading reading) {
  for (const unsigned threads : {1U, kLanes}) {
    reading.threads = threads;
    ways.push_back({"read " + name + by(threads), prepare(file, reading),
                    [&file, reading] { read_all(file, reading); }});
  }
}

void add_writing(std::vector<Way>& ways, const File& file, const std::string& name, WriteBack way) {
  for (const unsigned threads : {1U, kLanes})
    ways.push_back({"write " + name + by(threads),
                    [&file] { std::filesystem::remove(file.path); },
                    [&file, way, threads] { write_all(file, way, threads); }});
}

std::vector<Way> ways_of(const File& image, const File& copy) {
  std::vector<Way> ways;
  add_reading(ways, image, "from the page cache", {});
  add_reading(ways, image, "through it, dropped", {.cache = Cache::dropped});
  add_reading(ways, image, "through it, dropped, FADV_SEQUENTIAL", {.cache = Cache::dropped, .announces = true});
  add_reading(ways, image, "with O_DIRECT", {.cache = Cache::past});
  add_writing(ways, copy, "through the page cache, fdatasync", WriteBack::at_the_end);
  add_writing(ways, copy, "the same, sync_file_range at once", WriteBack::at_once);
  add_writing(ways, copy, "with O_DIRECT", WriteBack::direct);
  return ways;
}

void print(const Way& way, double gigabytes) {
  auto seconds = way.seconds;
  std::ranges::sort(seconds);
  std::printf("%-58s %5.2f GB/s (%.2f to %.2f)\n", way.name.c_str(), gigabytes / seconds[seconds.size() / 2],
              gigabytes / seconds.back(), gigabytes / seconds.front());
}

void fill_with_noise(const File& file) {
  const UniqueFd fd = file.open(O_WRONLY | O_CREAT | O_EXCL);
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> piece(kPieceBytes / sizeof(std::uint64_t));
  for (std::uint64_t at = 0; at < file.pieces; ++at) {
    std::ranges::generate(piece, random);
    must_be_whole(::pwrite(fd.get(), piece.data(), kPieceBytes, static_cast<off_t>(at * kPieceBytes)), "pwrite");
  }
  check_syscall(::fdatasync(fd.get()), "fdatasync");
}

void run(const std::filesystem::path& directory, std::uint64_t pieces, int repetitions) {
  const File image{directory / "image", pieces};
  const File copy{directory / "copy", pieces};
  fill_with_noise(image);
  std::vector<Way> ways = ways_of(image, copy);
  for (int i = 0; i < repetitions; ++i)
    for (Way& way : ways) {
      way.prepare();
      const auto began = std::chrono::steady_clock::now();
      way.run();
      way.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    }
  const double gigabytes = static_cast<double>(pieces * kPieceBytes) * 1e-9;
  for (const Way& way : ways) print(way, gigabytes);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: disk_bench DIRECTORY [GiB] [repetitions]\n", stderr);
    return 2;
  }
  std::string pattern = std::string(argv[1]) + "/vmigrate-bench-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) {
    std::perror(pattern.c_str());
    return 1;
  }
  int status = 0;
  try {
    run(pattern, (argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 4) << 10, argc > 3 ? std::atoi(argv[3]) : 5);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "disk_bench: %s\n", failure.what());
    status = 1;
  }
  std::filesystem::remove_all(pattern);
  return status;
}

// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel's write tracker, armed on devices and drained like during a live round, until the standard input ends or
// a signal comes. bench/tracker runs fio beside it. Usage: track_bench [--drain-ms 1000] DEVICE...
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/asio/thread_pool.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "bench/own_loop.h"
#include "engine/tracker/bpf_write_tracker.h"

using namespace vmigrate;

namespace {

/// One armed tracker and what its drains returned so far.
class TrackedTarget {
 public:
  TrackedTarget(asio::thread_pool& pool, std::string node) : node_(std::move(node)), tracker_(pool, node_) {}

  /// As after a round that the destination has acknowledged.
  void drain() {
    const auto start = std::chrono::steady_clock::now();
    DirtySet dirty(tracker_.geometry().block_count());
    run_on_own_loop(tracker_.drain_into(dirty));
    tracker_.forget_drained();
    longest_ = std::max(longest_, Duration(std::chrono::steady_clock::now() - start));
    blocks_ += dirty.count();
    ++drains_;
  }

  void print() const {
    std::printf("device=%s drains=%u blocks=%llu longest_drain=%.2fms\n", node_.c_str(), drains_,
                static_cast<unsigned long long>(blocks_), std::chrono::duration<double, std::milli>(longest_).count());
  }

 private:
  std::string node_;
  BpfWriteTracker tracker_;
  unsigned drains_ = 0;
  std::uint64_t blocks_ = 0;
  Duration longest_{};
};

/// Before the first thread: it inherits the mask.
UniqueFd signals_as_file() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  return UniqueFd(check_syscall(::signalfd(-1, &signals, SFD_CLOEXEC), "signalfd"));
}

/// Waits until `deadline`; true when it is time to end.
bool is_over(const UniqueFd& signals, TimePoint deadline) {
  pollfd files[] = {{STDIN_FILENO, POLLIN, 0}, {signals.get(), POLLIN, 0}};
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  if (::poll(files, 2, static_cast<int>(std::max<std::int64_t>(left.count(), 0))) <= 0) return false;
  char byte = 0;
  return files[1].revents != 0 || ::read(STDIN_FILENO, &byte, 1) <= 0;
}

void track(const std::vector<std::string>& nodes, std::chrono::milliseconds interval, const UniqueFd& signals) {
  asio::thread_pool pool(1);
  std::vector<std::unique_ptr<TrackedTarget>> targets;
  for (const auto& node : nodes) targets.push_back(std::make_unique<TrackedTarget>(pool, node));
  std::puts("READY");
  std::fflush(stdout);
  for (auto next = std::chrono::steady_clock::now() + interval; !is_over(signals, next);) {
    if (std::chrono::steady_clock::now() < next) continue;
    for (const auto& target : targets) target->drain();
    next += interval;
  }
  for (const auto& target : targets) target->drain();
  for (const auto& target : targets) target->print();
}

}  // namespace

int main(int argc, char** argv) {
  unsigned drain_ms = 1000;
  std::vector<std::string> nodes;
  CLI::App app("Arms the kernel's write tracker on devices until the standard input ends");
  app.add_option("--drain-ms", drain_ms, "between two drains")->check(CLI::PositiveNumber);
  app.add_option("DEVICE", nodes)->required();
  CLI11_PARSE(app, argc, argv);
  try {
    const auto signals = signals_as_file();
    track(nodes, std::chrono::milliseconds(drain_ms), signals);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "track_bench: %s\n", failure.what());
    return 1;
  }
  return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
// What the commands are made of: this host, and a loop to run on.
#pragma once

#include <exception>
#include <memory>
#include <optional>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "checkpoint/criu_checkpointer.h"
#include "checkpoint/oci_runtime.h"
#include "migrate/host_facts.h"
#include "migrate/options.h"
#include "migrate/session_start.h"

namespace vmigrate {

/// For blocking file I/O and commands: one for each session of an evacuation, whose checkpoints take seconds, and some
/// for everybody else.
inline constexpr std::size_t kPoolThreads = kParallelMax + 4;

/// Everything of this host that a session needs, built in the order of dependence.
struct HostParts {
  explicit HostParts(const HostOptions& options, const std::string& agent_address)
      : pool(kPoolThreads),
        state(options.state_dir),
        tls(options.tls_dir),
        runtime(make_oci_runtime(pool, options.runtime)),
        checkpointer(make_criu_checkpointer(pool, *runtime)),
        host{{state, pool, *runtime, *checkpointer}, tls, clock, host_name(), agent_address, switchboard,
             nullptr, &precedence, &rate_board} {}

  SteadyClock clock;
  asio::thread_pool pool;
  StateDir state;
  TlsContext tls;
  Switchboard switchboard;
  Precedence precedence;
  RateBoard rate_board;
  std::unique_ptr<ContainerRuntime> runtime;
  std::unique_ptr<Checkpointer> checkpointer;
  SessionHost host;
};

/// An event loop and the end of it: what still runs on the pool may post to the loop, so the pool ends first; what
/// still waits on the loop refers to the host's parts, so those are declared before and end last.
struct Loop {
  explicit Loop(asio::thread_pool& pool_in) : pool(pool_in), context(1) {}
  Loop(const Loop&) = delete;
  ~Loop() { pool.join(); }

  asio::thread_pool& pool;
  asio::io_context context;
};

/// Runs `task` on `loop` to its end and rethrows what it throws.
template <typename T>
T run_to_end(asio::io_context& loop, Task<T> task) {
  std::optional<T> result;
  std::exception_ptr failure;
  asio::co_spawn(loop, std::move(task), [&](std::exception_ptr thrown, T value) {
    failure = thrown;
    if (!thrown) result.emplace(std::move(value));
    loop.stop();
  });
  loop.run();
  if (failure) std::rethrow_exception(failure);
  return std::move(*result);
}

}  // namespace vmigrate

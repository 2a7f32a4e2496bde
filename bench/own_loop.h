// SPDX-License-Identifier: GPL-2.0-or-later
// Runs one coroutine to its end on an event loop of its own.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include <boost/asio/io_context.hpp>

#include "base/async.h"

namespace vmigrate {

/// Returns what the task returns, or throws what it throws. The task must end by itself.
template <typename T>
T run_on_own_loop(Task<T> task) {
  asio::io_context loop(1);
  std::exception_ptr failure;
  if constexpr (std::is_void_v<T>) {
    asio::co_spawn(loop, std::move(task), [&](std::exception_ptr thrown) { failure = thrown; });
    loop.run();
    if (failure) std::rethrow_exception(failure);
  } else {
    std::optional<T> result;
    asio::co_spawn(loop, std::move(task), [&](std::exception_ptr thrown, T value) {
      failure = thrown;
      if (!thrown) result.emplace(std::move(value));
    });
    loop.run();
    if (failure) std::rethrow_exception(failure);
    return std::move(*result);
  }
}

}  // namespace vmigrate

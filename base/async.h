// SPDX-License-Identifier: GPL-2.0-or-later
// Our name for an awaitable, and the one bridge from coroutines to blocking work.
#pragma once

#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace vmigrate {

namespace asio = boost::asio;

/// An operation that may suspend. Failures arrive as exceptions at the co_await.
template <typename T = void>
using Task = asio::awaitable<T>;

namespace detail {
template <typename Work>
Task<std::invoke_result_t<Work&>> call_on_pool(Work work) {
  co_return work();
}
}  // namespace detail

/// Runs blocking `work` on a thread of `pool`; the caller resumes on its own executor with the result or exception.
/// Whatever `work` refers to must live until then. Cancelling the caller does not interrupt `work`.
template <typename Work>
Task<std::invoke_result_t<Work&>> offload(asio::thread_pool& pool, Work work) {
  co_return co_await asio::co_spawn(pool, detail::call_on_pool(std::move(work)), asio::use_awaitable);
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// Our name for an awaitable, and the one bridge from coroutines to blocking work.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace vmigrate {

namespace asio = boost::asio;

/// An operation that may suspend. Failures arrive as exceptions at the co_await.
template <typename T = void>
using Task = asio::awaitable<T>;

/// While one lives, the thread that made it may be kept waiting: it serves nothing but what it waits for.
class PatientThread {
 public:
  PatientThread() { is_this_ = true; }
  PatientThread(const PatientThread&) = delete;
  ~PatientThread() { is_this_ = false; }
  static bool is_this() { return is_this_; }

 private:
  inline static thread_local bool is_this_ = false;
};

namespace detail {

template <typename Work>
Task<std::invoke_result_t<Work&>> call(std::shared_ptr<Work> work) {
  co_return (*work)();
}

template <typename Work>
Task<std::invoke_result_t<Work&>> call_on_pool(asio::thread_pool& pool, std::shared_ptr<Work> work) {
  auto called = call(std::move(work));
  // No cancellation slot: Asio 1.81 would post a pointer to it onto the pool, where it may be gone by then.
  auto spawned = asio::co_spawn(pool, std::move(called),
                                asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
  co_return co_await std::move(spawned);
}

}  // namespace detail

/// Runs a task on another executor, which must outlive it; the caller resumes on its own. Cancelling the caller does
/// not interrupt the task. Give `task` a name first (see offload()).
inline Task<> run_on(asio::any_io_executor executor, Task<>&& task) {
  auto spawned = asio::co_spawn(executor, std::move(task),
                                asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
  co_return co_await std::move(spawned);
}

/// Runs blocking `work` on a thread of `pool`; the caller resumes on its own executor with the result or exception. A
/// patient thread does the work itself: what it reads or writes stays in the cache of one core. Whatever `work` refers
/// to must live until then. Cancelling the caller does not interrupt `work`.
///
/// Give a closure that captures more than references and numbers a name first: GCC 12 moves temporaries of a co_await
/// expression into the coroutine's frame byte by byte, and a captured short string then points into its old self. For
/// the same reason no coroutine here takes a class temporary by value within a co_await expression.
template <typename Work>
Task<std::invoke_result_t<std::decay_t<Work>&>> offload(asio::thread_pool& pool, Work&& work) {
  auto shared = std::make_shared<std::decay_t<Work>>(std::forward<Work>(work));
  if (PatientThread::is_this()) return detail::call(std::move(shared));
  return detail::call_on_pool(pool, std::move(shared));
}

}  // namespace vmigrate

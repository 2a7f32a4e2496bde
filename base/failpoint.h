// SPDX-License-Identifier: GPL-2.0-or-later
// Named points at which a test, or an experiment on a real host, lets something go wrong.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace vmigrate {

namespace detail {
extern std::atomic<bool> are_failpoints_set;
void reach_failpoint(std::string_view subject, std::string_view object, std::string_view step);
}  // namespace detail

inline bool are_failpoints_set() noexcept { return detail::are_failpoints_set.load(std::memory_order_relaxed); }

/// The point "subject.object.step", as in "journal.given.before_write". Costs a load and a branch unless somebody has
/// asked for failures. Throws whatever the failure is.
inline void failpoint(std::string_view subject, std::string_view object, std::string_view step) {
  if (are_failpoints_set()) [[unlikely]] detail::reach_failpoint(subject, object, step);
}

/// Is called with the name of every point that is reached, on the thread that reaches it; an empty one takes it away.
/// For tests; not while another thread runs.
using FailpointHandler = std::function<void(std::string_view name)>;
void set_failpoint_handler(FailpointHandler handler);

/// What the environment variable VMIGRATE_FAILPOINTS asks for: "name=action[@n],…". The action is carried out when the
/// point is reached for the n-th time (the first, if n is not given), and only then:
///
///   kill        the process is gone, as by kill -9
///   stop        the whole process stands still until it is sent SIGCONT; until then anything can be done to it
///   eio         the operation fails with EIO
///   enospc      the operation fails with ENOSPC
///
/// Throws Error(Errc::usage) for a name that is not among `known` and for an action that is not in this list.
void set_failpoints(std::string_view wishes, std::span<const std::string> known);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/failpoint.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"

namespace vmigrate {
namespace {

enum class Action { kill, stop, eio, enospc };

struct Wish {
  std::string name;
  Action action = Action::kill;
  std::uint64_t reaches_left = 1;   ///< 0: it has been carried out
};

FailpointHandler g_handler;

[[noreturn]] void reject(std::string_view wish, const std::string& why) {
  throw Error(Errc::usage, "VMIGRATE_FAILPOINTS: \"" + std::string(wish) + "\": " + why);
}

std::uint64_t number_in(std::string_view digits, std::string_view wish) {
  std::uint64_t number = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (failure != std::errc{} || end != digits.data() + digits.size() || number == 0)
    reject(wish, "\"" + std::string(digits) + "\" is not a number above 0");
  return number;
}

Action read_action(std::string_view text, std::string_view wish) {
  if (text == "kill") return Action::kill;
  if (text == "stop") return Action::stop;
  if (text == "eio") return Action::eio;
  if (text == "enospc") return Action::enospc;
  reject(wish, "the actions are kill, stop, eio and enospc");
}

Wish read_wish(std::string_view text, std::span<const std::string> known) {
  Wish wish;
  const auto equals = text.find('=');
  if (equals == std::string_view::npos) reject(text, "it should read name=action");
  wish.name = text.substr(0, equals);
  if (std::find(known.begin(), known.end(), wish.name) == known.end())
    reject(text, "there is no point of that name");
  std::string_view action = text.substr(equals + 1);
  const auto at = action.find('@');
  if (at != std::string_view::npos) wish.reaches_left = number_in(action.substr(at + 1), text);
  wish.action = read_action(action.substr(0, at), text);
  return wish;
}

void carry_out(const Wish& wish) {
  log(LogLevel::warn, "event=failpoint name=" + wish.name);
  switch (wish.action) {
    case Action::kill:
      ::raise(SIGKILL);
      break;
    case Action::stop:
      ::raise(SIGSTOP);
      break;
    case Action::eio:
      throw Error(EIO, "failpoint", wish.name);
    case Action::enospc:
      throw Error(ENOSPC, "failpoint", wish.name);
  }
}

/// Points are reached on the event loop and on the pool.
class Wishes {
 public:
  explicit Wishes(std::vector<Wish> wishes) : wishes_(std::move(wishes)) {}

  void operator()(std::string_view name) {
    for (const Wish& due : take_due(name)) carry_out(due);
  }

 private:
  std::vector<Wish> take_due(std::string_view name) {
    const std::lock_guard lock(mutex_);
    std::vector<Wish> due;
    for (Wish& wish : wishes_)
      if (wish.name == name && wish.reaches_left > 0 && --wish.reaches_left == 0) due.push_back(wish);
    return due;
  }

  std::mutex mutex_;
  std::vector<Wish> wishes_;
};

}  // namespace

std::atomic<bool> detail::are_failpoints_set{false};

void detail::reach_failpoint(std::string_view subject, std::string_view object, std::string_view step) {
  std::string name(subject);
  name.append(".").append(object).append(".").append(step);
  g_handler(name);
}

void set_failpoint_handler(FailpointHandler handler) {
  g_handler = std::move(handler);
  detail::are_failpoints_set.store(static_cast<bool>(g_handler), std::memory_order_relaxed);
}

void set_failpoints(std::string_view wishes, std::span<const std::string> known) {
  std::vector<Wish> all;
  while (!wishes.empty()) {
    const auto comma = std::min(wishes.find(','), wishes.size());
    all.push_back(read_wish(wishes.substr(0, comma), known));
    wishes.remove_prefix(std::min(comma + 1, wishes.size()));
  }
  if (all.empty()) return set_failpoint_handler({});
  const auto kept = std::make_shared<Wishes>(std::move(all));
  set_failpoint_handler([kept](std::string_view name) { (*kept)(name); });
}

}  // namespace vmigrate

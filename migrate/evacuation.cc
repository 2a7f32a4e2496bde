// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/evacuation.h"

#include <algorithm>
#include <array>

#include "migrate/exit_code.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr auto kLookForEndEvery = 20ms;
constexpr std::string_view kSkipped = "skipped";           // it cannot be moved as it is
constexpr std::string_view kNotStarted = "not_started";    // it was cancelled before its turn, or had none
constexpr std::string_view kEnded = "ended";               // by itself, before it could be moved
constexpr std::string_view kReturned = "returned";         // it went, and is there again

/// Puts the container's name into its events.
class NamedProgress final : public Progress {
 public:
  NamedProgress(std::string container, Progress& out) : container_(std::move(container)), out_(out) {}
  void report(const json& event) noexcept override {
    json named = event;
    named["container"] = container_;
    out_.report(named);
  }

 private:
  std::string container_;
  Progress& out_;
};

json error_of(const Failure& failure) {
  return {{"code", name_of(failure.code)}, {"number", static_cast<int>(failure.code)}, {"message", failure.sentence}};
}

json row_of(const InventoryEntry& entry) {
  json row = {{"container", entry.container}, {"result", entry.obstacle ? kSkipped : kNotStarted}};
  if (entry.obstacle) row["error"] = error_of(*entry.obstacle);
  return row;
}

json row_of(const std::string& container, const json& report) {
  json row = {{"container", container},
              {"result", text_in(report, "result")},
              {"total_seconds", number_in(report, "total_seconds")},
              {"wire_bytes", number_in(report, "wire_bytes")}};
  const auto downtime = report.find("downtime");
  row["downtime_ms"] = downtime != report.end() ? number_in(*downtime, "total_ms")
                                                : number_in(report, "expected_downtime_ms");
  if (report.contains("error")) row["error"] = report["error"];
  return row;
}

bool is(const json& row, std::string_view result) { return text_in(row, "result") == result; }

bool has_gone(const json& row) {
  return is(row, name_of(Outcome::migrated)) || is(row, name_of(Outcome::cleanup_pending));
}

/// It could not be moved, for there was nothing to move.
bool was_not_running(const json& row) {
  if (is(row, kSkipped)) return true;
  if (!is(row, name_of(Outcome::aborted)) || !row.contains("error")) return false;
  const std::string code = text_in(row["error"], "code");
  return code == name_of(Errc::unknown_container) || code == name_of(Errc::container_not_running);
}

EvacuationResult result_of(const std::vector<json>& rows, bool is_cancelled, std::uint64_t hidden) {
  const auto any = [&](auto condition) { return std::ranges::any_of(rows, condition); };
  const auto stays = [](const json& row) {
    return !has_gone(row) && !is(row, kEnded) && !is(row, name_of(Outcome::predicted));
  };
  if (any([](const json& row) { return is(row, name_of(Outcome::in_doubt)); })) return EvacuationResult::in_doubt;
  if (any(stays) && is_cancelled) return EvacuationResult::cancelled;
  if (any(stays) || hidden > 0) return EvacuationResult::some_stayed;
  if (any([](const json& row) { return is(row, name_of(Outcome::predicted)); })) return EvacuationResult::predicted;
  return EvacuationResult::evacuated;
}

}  // namespace

std::deque<std::string> in_order(const Inventory& inventory, const EvacuationPlan& plan) {
  std::deque<std::string> order;
  const auto is_there = [&](const std::string& name) {
    return std::ranges::find(inventory.entries, name, &InventoryEntry::container) != inventory.entries.end();
  };
  const auto add = [&](const std::string& name) {
    if (std::ranges::find(order, name) == order.end()) order.push_back(name);
  };
  for (const auto& name : plan.first) {
    if (!is_there(name))
      throw Error(Errc::unknown_container,
                  "container " + name + " cannot go first: it is none of those that run there and may be moved");
    add(name);
  }
  std::vector<std::string> others;
  for (const auto& entry : inventory.entries) others.push_back(entry.container);
  std::ranges::sort(others);
  std::ranges::for_each(others, add);
  const auto has_obstacle = [&](const std::string& name) {
    return std::ranges::find(inventory.entries, name, &InventoryEntry::container)->obstacle.has_value();
  };
  std::erase_if(order, has_obstacle);
  return order;
}

/// One of the migrations that a cancellation is passed on to.
class Evacuation::UnderWay {
 public:
  UnderWay(Evacuation& all, Cancellation& one) : all_(all), one_(one) { all_.under_way_.insert(&one_); }
  UnderWay(const UnderWay&) = delete;
  ~UnderWay() { all_.under_way_.erase(&one_); }

 private:
  Evacuation& all_;
  Cancellation& one_;
};

Evacuation::Evacuation(Parts parts, const Inventory& inventory, const EvacuationPlan& plan)
    : parts_(std::move(parts)),
      waiting_(in_order(inventory, plan)),
      hidden_(inventory.hidden),
      parallel_(plan.parallel) {
  for (const auto& entry : inventory.entries) rows_[entry.container] = row_of(entry);
}

Task<json> Evacuation::run() {
  started_ = parts_.clock.now();
  parts_.cancellation.on_request([this] { pass_on_cancellation(); });
  const auto executor = co_await asio::this_coro::executor;
  movers_ = parallel_;
  for (std::uint32_t i = 0; i < parallel_; ++i)
    asio::co_spawn(executor, move_one_after_the_other(), [this](std::exception_ptr) { --movers_; });
  while (movers_ > 0) {
    co_await parts_.clock.sleep_for(kLookForEndEvery);
    if (parts_.cancellation.is_shutting_down()) pass_on_cancellation();   // of this nobody is told
  }
  parts_.cancellation.on_request({});
  ended_ = parts_.clock.now();
  if (!parts_.cancellation.is_requested()) co_await compare_with_the_source();
  co_return summary();
}

Task<> Evacuation::compare_with_the_source() {
  std::exception_ptr thrown;
  try {
    auto looking = parts_.look_again();
    const Inventory now = co_await std::move(looking);
    compare_with(now);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (!thrown) co_return;
  blindness_ = failure_of(thrown, Errc::internal);
  blindness_->sentence = "nobody knows who is left on the source, ask it again: " + blindness_->sentence;
}

void Evacuation::compare_with(const Inventory& now) {
  hidden_ = now.hidden;
  const auto is_there = [&](const std::string& name) {
    return std::ranges::find(now.entries, name, &InventoryEntry::container) != now.entries.end();
  };
  for (auto& [container, row] : rows_)
    if (was_not_running(row) && !is_there(container)) row["result"] = kEnded;
  for (const auto& entry : now.entries) {
    json& row = rows_.try_emplace(entry.container, row_of(entry)).first->second;
    if (is(row, name_of(Outcome::migrated))) row["result"] = kReturned;
  }
}

Task<> Evacuation::move_one_after_the_other() {
  while (!waiting_.empty() && !parts_.cancellation.is_requested()) {
    std::string container = std::move(waiting_.front());
    waiting_.pop_front();
    auto moving = move(std::move(container));
    co_await std::move(moving);
  }
}

Task<> Evacuation::move(std::string container) {
  Cancellation cancellation;
  const UnderWay under_way(*this, cancellation);
  NamedProgress progress(container, parts_.progress);
  auto moving = parts_.move(container, progress, cancellation);
  const json report = co_await std::move(moving);
  rows_[container] = row_of(container, report);
  progress.report(report);
}

void Evacuation::pass_on_cancellation() const {
  const auto under_way = under_way_;   // one may leave the set while it is told
  for (Cancellation* one : under_way)
    parts_.cancellation.is_shutting_down() ? one->shut_down() : one->request();
}

json Evacuation::summary() const {
  std::vector<json> rows;
  double bytes = 0;
  for (const auto& [container, row] : rows_) {
    rows.push_back(row);
    bytes += number_in(row, "wire_bytes");
  }
  auto result = result_of(rows, parts_.cancellation.is_requested(), hidden_);
  const bool speaks_of_all = result == EvacuationResult::evacuated || result == EvacuationResult::predicted;
  if (blindness_ && speaks_of_all) result = EvacuationResult::failed;
  json made = {{"event", "summary"},
               {"result", name_of(result)},
               {"moved", std::ranges::count_if(rows, has_gone)},
               {"hidden", hidden_},
               {"total_seconds", std::chrono::duration<double>(ended_ - started_).count()},
               {"wire_bytes", bytes},
               {"containers", rows}};
  if (blindness_) made["error"] = error_of(*blindness_);
  return made;
}

std::string_view name_of(EvacuationResult result) noexcept {
  constexpr std::array<std::string_view, 6> names = {"evacuated", "predicted", "some_stayed",
                                                     "cancelled", "in_doubt",  "failed"};
  return names[static_cast<std::size_t>(result)];
}

json failed_evacuation(const Failure& failure) {
  return {{"event", "summary"},
          {"result", name_of(EvacuationResult::failed)},
          {"error", error_of(failure)},
          {"containers", json::array()}};
}

int exit_code_of_evacuation(const json& summary) {
  if (is(summary, name_of(EvacuationResult::in_doubt))) return kExitInDoubt;
  if (is(summary, name_of(EvacuationResult::cancelled))) return exit_code_of(Errc::cancelled);
  if (is(summary, name_of(EvacuationResult::some_stayed))) return kExitSomeStayed;
  if (is(summary, name_of(EvacuationResult::failed))) {
    const double number = number_in(summary.value("error", json::object()), "number");
    return exit_code_of(static_cast<Errc>(static_cast<int>(number)));
  }
  const auto is_to_clean = [](const json& row) { return is(row, name_of(Outcome::cleanup_pending)); };
  return std::ranges::any_of(list_in(summary, "containers"), is_to_clean) ? kExitCleanupPending : kExitDone;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/model/search.h"

#include <algorithm>
#include <numeric>

namespace vmigrate::model {
namespace {

struct Edge {
  std::uint32_t from;
  std::uint32_t to;
};

class Search {
 public:
  explicit Search(const Rules& rules) : rules_(rules) { note(first_world(), 0); }

  /// All successors of one world more; false when there is none left.
  bool expand_next() {
    if (next_ == worlds_.size()) return false;
    if (next_ == level_end_) {
      ++findings_.depth;
      level_end_ = worlds_.size();
    }
    const World world = worlds_[next_];
    successors_of(world, rules_, findings_.coverage, successors_);
    for (const Successor& successor : successors_) worlds_.announce(successor.world);
    for (const Successor& successor : successors_) {
      if (is_same(successor.world, world)) continue;
      const std::uint32_t to = note(successor.world, next_);
      if (successor.step.kind == Kind::assured) assured_.push_back({static_cast<std::uint32_t>(next_), to});
    }
    findings_.transitions += successors_.size();
    ++next_;
    return true;
  }

  std::size_t size() const { return worlds_.size(); }
  const World& world(std::size_t number) const { return worlds_[number]; }

  /// Once everything is expanded.
  Findings judge() {
    findings_.states = worlds_.size();
    const std::vector<bool> can_settle = worlds_that_can_settle();
    for (std::uint32_t number = 0; number < worlds_.size(); ++number) {
      auto violation = violation_in(worlds_[number]);
      if (!violation && !can_settle[number]) violation = Violation::stuck;
      if (!violation) continue;
      if (findings_.violations_in_all() == 0) findings_.first_violation = trace_to(number);
      ++findings_.violations[static_cast<std::size_t>(*violation)];
    }
    return findings_;
  }

  /// The steps are found again by expanding each world on the way once more.
  Trace trace_to(std::uint32_t number) {
    Trace trace;
    for (; number != 0; number = parents_[number]) {
      const World parent = worlds_[parents_[number]];
      successors_of(parent, rules_, findings_.coverage, successors_);
      const auto taken = std::find_if(successors_.begin(), successors_.end(), [&](const Successor& successor) {
        return is_same(successor.world, worlds_[number]);
      });
      trace.steps.push_back(taken->step);
    }
    std::reverse(trace.steps.begin(), trace.steps.end());
    return trace;
  }

 private:
  std::uint32_t note(const World& world, std::size_t parent) {
    const auto [number, is_new] = worlds_.insert(world);
    if (is_new) parents_.push_back(static_cast<std::uint32_t>(parent));
    return number;
  }

  /// Backwards from the settled worlds along the assured steps.
  std::vector<bool> worlds_that_can_settle() const {
    std::vector<std::uint32_t> begin(worlds_.size() + 1, 0);
    for (const Edge& edge : assured_) ++begin[edge.to + 1];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    std::vector<std::uint32_t> predecessors(assured_.size());
    std::vector<std::uint32_t> end(begin.begin(), begin.end() - 1);
    for (const Edge& edge : assured_) predecessors[end[edge.to]++] = edge.from;

    std::vector<bool> can_settle(worlds_.size(), false);
    std::vector<std::uint32_t> waiting;
    const auto reach = [&](std::uint32_t number) {
      if (can_settle[number]) return;
      can_settle[number] = true;
      waiting.push_back(number);
    };
    for (std::uint32_t number = 0; number < worlds_.size(); ++number)
      if (is_settled(worlds_[number])) reach(number);
    while (!waiting.empty()) {
      const std::uint32_t number = waiting.back();
      waiting.pop_back();
      for (std::uint32_t i = begin[number]; i < end[number]; ++i) reach(predecessors[i]);
    }
    return can_settle;
  }

  Rules rules_;
  WorldSet worlds_;
  std::vector<std::uint32_t> parents_;
  std::vector<Edge> assured_;
  std::vector<Successor> successors_;
  std::size_t next_ = 0;
  std::size_t level_end_ = 1;
  Findings findings_;
};

}  // namespace

std::size_t Findings::violations_in_all() const {
  return std::accumulate(violations.begin(), violations.end(), std::size_t{0});
}

std::string Trace::text() const {
  std::string text;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const std::string number = std::to_string(i + 1);
    text += (number.size() == 1 ? " " : "") + number + "  " + text_of(steps[i]) + "\n";
  }
  return text;
}

Findings explore(const Rules& rules) {
  Search search(rules);
  while (search.expand_next()) {
  }
  return search.judge();
}

std::optional<Trace> shortest_way_to(const std::function<bool(const World&)>& is_wanted, const Rules& rules) {
  Search search(rules);
  for (std::uint32_t number = 0;; ++number) {
    while (number == search.size())
      if (!search.expand_next()) return std::nullopt;
    if (is_wanted(search.world(number))) return search.trace_to(number);
  }
}

}  // namespace vmigrate::model

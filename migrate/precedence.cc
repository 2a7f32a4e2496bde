// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/precedence.h"

#include <algorithm>
#include <utility>

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

// Looking again is what makes a wait end by itself, on whatever thread, whoever forgets to ring.
constexpr auto kLookForTurnEvery = 20ms;
constexpr auto kLookForWayEvery = 5ms;

}  // namespace

Task<> Precedence::Place::begin(Clock& clock, const Cancellation& cancellation) {
  if (all_ == nullptr) co_return;
  begins_until(clock.now() + kMakeWayMax);   // who comes next to stand still lets us begin before
  co_await wait_for(&Precedence::may_not_begin_until, clock, &cancellation);
  begins_until(clock.now() + kBeginMax);
}

void Precedence::Place::begins_until(TimePoint deadline) {
  const std::lock_guard lock(all_->mutex_);
  waited_ = {};   // no round was held up
  if (!has_left_) note(all_->beginning_, *this, deadline);
}

void Precedence::Place::has_begun() noexcept {
  if (all_ == nullptr) return;
  const std::lock_guard lock(all_->mutex_);
  strike(all_->beginning_, *this);
}

bool Precedence::Place::take_turn(TimePoint now) {
  if (all_ == nullptr) return true;
  const std::lock_guard lock(all_->mutex_);
  if (has_left_) return true;
  auto& turns = all_->turns_;
  if (std::ranges::find(turns, this) == turns.end()) turns.push_back(this);
  if (turns.front() != this) return false;
  if (!all_->do_others_begin(*this, now)) return true;
  if (!waits_for_beginners_until_) waits_for_beginners_until_ = now + kBeginMax;
  return now >= *waits_for_beginners_until_;
}

Task<> Precedence::Place::wait_for_turn(Clock& clock, const Cancellation& cancellation, Duration patience) {
  const TimePoint deadline = clock.now() + patience;
  while (!take_turn(clock.now()) && clock.now() < deadline && !cancellation.is_requested())
    co_await clock.sleep_for(kLookForTurnEvery);
}

void Precedence::Place::stand_still(TimePoint now, Duration at_most) {
  if (all_ == nullptr) return;
  const std::lock_guard lock(all_->mutex_);
  if (!has_left_) note(all_->standing_still_, *this, now + at_most);
}

void Precedence::Place::take_link(TimePoint now, Duration at_most) {
  if (all_ == nullptr) return;
  const std::lock_guard lock(all_->mutex_);
  if (!has_left_) note(all_->sending_the_rest_, *this, now + at_most);
}

void Precedence::Place::has_sent() noexcept {
  if (all_ == nullptr) return;
  const std::lock_guard lock(all_->mutex_);
  all_->turns_.remove(this);
  strike(all_->sending_the_rest_, *this);
}

void Precedence::Place::leave() noexcept {
  if (all_ == nullptr) return;
  const std::lock_guard lock(all_->mutex_);
  has_left_ = true;
  strike(all_->beginning_, *this);
  all_->turns_.remove(this);
  strike(all_->standing_still_, *this);
  strike(all_->sending_the_rest_, *this);
}

/// However many connections wait at once, it is one time that passes.
class Precedence::Place::Wait {
 public:
  Wait(Place& place, Clock& clock) : place_(place), clock_(clock) {
    const std::lock_guard lock(place_.all_->mutex_);
    if (place_.waits_++ == 0) place_.waiting_since_ = clock_.now();
  }
  Wait(const Wait&) = delete;
  ~Wait() {
    const std::lock_guard lock(place_.all_->mutex_);
    if (--place_.waits_ == 0) place_.waited_ += clock_.now() - place_.waiting_since_;
  }

 private:
  Place& place_;
  Clock& clock_;
};

Task<> Precedence::Place::make_way(Clock& clock) { return wait_for(&Precedence::must_make_way_until, clock); }

Task<> Precedence::Place::wait_for(Obstacle obstacle, Clock& clock, const Cancellation* cancellation) {
  if (all_ == nullptr || !(all_->*obstacle)(*this)) co_return;
  const Wait wait(*this, clock);
  const TimePoint deadline = clock.now() + kMakeWayMax;
  for (auto until = (all_->*obstacle)(*this); until; until = (all_->*obstacle)(*this)) {
    const TimePoint end = std::min(*until, deadline);
    const TimePoint now = clock.now();
    if (now >= end || (cancellation != nullptr && cancellation->is_requested())) co_return;
    co_await clock.sleep_until(std::min(end, now + kLookForWayEvery));
  }
}

Duration Precedence::Place::take_waited() {
  if (all_ == nullptr) return {};
  const std::lock_guard lock(all_->mutex_);
  return std::exchange(waited_, {});
}

/// A need that is noted again keeps its place in the order.
void Precedence::note(Needs& needs, const Place& place, TimePoint until) {
  const auto known = std::ranges::find(needs, &place, &Need::place);
  if (known != needs.end()) {
    known->until = until;
  } else {
    needs.push_back({&place, until});
  }
}

void Precedence::strike(Needs& needs, const Place& place) noexcept {
  needs.remove_if([&](const Need& need) { return need.place == &place; });
}

/// Nothing if nobody is in the way, or if that is none of this one's business.
std::optional<TimePoint> Precedence::may_not_begin_until(const Place& place) const {
  const std::lock_guard lock(mutex_);
  if (place.has_left_ || stands_still(place)) return std::nullopt;
  const auto mine = std::ranges::find(beginning_, &place, &Need::place);
  return std::max(latest(standing_still_.begin(), standing_still_.end()), latest(beginning_.begin(), mine));
}

/// As above.
std::optional<TimePoint> Precedence::must_make_way_until(const Place& place) const {
  const std::lock_guard lock(mutex_);
  if (place.has_left_ || stands_still(place)) return std::nullopt;
  return latest(sending_the_rest_.begin(), sending_the_rest_.end());
}

/// Called with the lock held.
bool Precedence::stands_still(const Place& place) const {
  return is_among(standing_still_, place) || is_among(sending_the_rest_, place);
}

/// Called with the lock held.
bool Precedence::do_others_begin(const Place& place, TimePoint now) const {
  return std::ranges::any_of(beginning_, [&](const Need& need) { return need.place != &place && now < need.until; });
}

std::optional<TimePoint> Precedence::latest(Needs::const_iterator first, Needs::const_iterator end) {
  std::optional<TimePoint> latest;
  for (; first != end; ++first) latest = std::max(latest, std::optional(first->until));
  return latest;
}

bool Precedence::is_among(const Needs& needs, const Place& place) {
  return std::ranges::find(needs, &place, &Need::place) != needs.end();
}

}  // namespace vmigrate

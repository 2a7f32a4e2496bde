// SPDX-License-Identifier: GPL-2.0-or-later
// Who goes first where several containers leave one host: the frozen one whose rest is sent.
#pragma once

#include <list>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "migrate/cancellation.h"

namespace vmigrate {

/// Of one host, shared by its sessions as sources. From any thread. Must outlive its places.
///
/// What holds, whatever the sessions do:
/// 1. Nobody waits without a bound: for a turn as long as he says himself, to begin or to make way for kMakeWayMax at
///    most.
/// 2. Whoever stands still waits for nobody. So no two wait for each other, and a freeze is never longer for this.
/// 3. Others make way for one container, or wait for it to go, for no longer than its own freeze may last.
/// 4. After leave(), and once a place is gone, nobody waits for it, nor it for anybody.
/// 5. Turns come in the order in which they were asked for.
/// 6. Whoever has the turn waits for those that are beginning before he stands still, for kBeginMax at most in all.
/// 7. They begin one after the other, in the order in which they asked for it, and each when nobody stands still; as
///    far as (1) allows.
class Precedence {
 public:
  /// Longest time between two messages of a round: a destination must not take us for dead (it is patient for 30 s).
  static constexpr Duration kMakeWayMax = std::chrono::seconds(10);
  /// Looking at a container and setting its session up take a second; a destination that does not answer, longer.
  static constexpr Duration kBeginMax = std::chrono::seconds(3);

  /// One session's part in this.
  class Place {
   public:
    /// Null: there are no others.
    explicit Place(Precedence* all) : all_(all) {}
    Place(const Place&) = delete;
    ~Place() { leave(); }

    /// Looking at a container and setting its session up take the processors and the disk that a dump needs, and the
    /// next one that begins, too: returns when nobody else stands still or began before, after kMakeWayMax at the
    /// latest. From the call on nobody gets the turn until has_begun(), or for as long as (6) says: so those that begin
    /// and those that stand still alternate, and the link is not idle for long.
    /// A cancelled one returns at once.
    Task<> begin(Clock& clock, const Cancellation& cancellation);
    void has_begun() noexcept;

    /// True if the turn is ours (for as long as nobody else begins). Else we are in the line for it.
    bool take_turn(TimePoint now);
    /// Returns when the turn is ours, after `patience`, or when it is cancelled.
    Task<> wait_for_turn(Clock& clock, const Cancellation& cancellation, Duration patience);
    /// The container is about to stand still: others begin with nothing new, until leave() or for `at_most`.
    void stand_still(TimePoint now, Duration at_most);
    /// What is left of it goes now: others make way, until has_sent() or for `at_most`.
    void take_link(TimePoint now, Duration at_most);
    /// Everything is with the destination: the link is the others' again, and the turn is the next one's.
    void has_sent() noexcept;
    /// It is restored over there, or has failed, or was cancelled. Later calls do nothing.
    void leave() noexcept;

    /// Between two messages of a round: returns when nobody else needs the link more. On any executor, and on several
    /// at once.
    Task<> make_way(Clock& clock);
    /// For how long that held us up since it was last asked.
    Duration take_waited();

   private:
    friend class Precedence;
    class Wait;
    using Obstacle = std::optional<TimePoint> (Precedence::*)(const Place&) const;

    void begins_until(TimePoint deadline);
    Task<> wait_for(Obstacle obstacle, Clock& clock, const Cancellation* cancellation = nullptr);

    Precedence* all_;
    // Guarded by all_->mutex_.
    bool has_left_ = false;
    int waits_ = 0;
    TimePoint waiting_since_{};
    std::optional<TimePoint> waits_for_beginners_until_;
    Duration waited_{};
  };

 private:
  /// Who, and until when at most.
  struct Need {
    const Place* place;
    TimePoint until;
  };
  using Needs = std::list<Need>;   // in the order in which they came

  static void note(Needs& needs, const Place& place, TimePoint until);
  static void strike(Needs& needs, const Place& place) noexcept;
  static bool is_among(const Needs& needs, const Place& place);
  static std::optional<TimePoint> latest(Needs::const_iterator first, Needs::const_iterator end);
  std::optional<TimePoint> may_not_begin_until(const Place& place) const;
  std::optional<TimePoint> must_make_way_until(const Place& place) const;
  bool stands_still(const Place& place) const;
  bool do_others_begin(const Place& place, TimePoint now) const;

  mutable std::mutex mutex_;
  std::list<const Place*> turns_;   // the first has the turn, the others wait for it
  Needs beginning_;                 // who came first begins first
  Needs standing_still_;
  Needs sending_the_rest_;
};

}  // namespace vmigrate

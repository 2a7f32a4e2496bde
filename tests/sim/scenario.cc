// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/sim/scenario.h"

#include <array>

#include "migrate/failpoint_channel.h"

namespace vmigrate::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::array kRecordsOfHandOver = {"given", "released", "reclaimed", "prepared", "owned", "refused"};
constexpr std::array kJournalSteps = {"before_write", "before_fsync", "after_fsync"};
constexpr std::array kMessages = {"Open",     "Accept", "Join", "BlockData", "RoundEnd", "RoundAck", "ImageChunk",
                                  "Manifest", "Ready",  "Go",   "Running",   "Done",     "Refused",  "Abort",
                                  "Ask",      "Wait",   "Ready", "Go",       "Running"};
constexpr std::array kMessageSteps = {"before_send", "after_send", "before_handle"};
constexpr std::array kHostSteps = {"departure.find",    "departure.note",    "departure.arm",     "departure.stop",
                                   "departure.dump",    "departure.resume",  "departure.release", "departure.reclaim",
                                   "departure.adopt",   "arrival.check",     "arrival.prepare",   "arrival.restore",
                                   "arrival.run",       "arrival.discard",   "arrival.adopt",     "tracker.drain",
                                   "arrival.announce"};
constexpr std::array kDiskSteps = {"disk.waybills.create", "disk.waybills.write",  "disk.waybills.sync",
                                   "disk.waybills.rename", "disk.waybills.remove", "disk.waybills.sync_names",
                                   "disk.journal.create",  "disk.journal.open",    "disk.journal.lock",
                                   "disk.journal.link",    "disk.journal.read",    "disk.journal.sync_names",
                                   "disk.journal.remove",  "disk.journal.write",   "disk.journal.sync"};

/// A short while most of the time, a long one now and then.
Duration while_of(Random& random) {
  switch (random.below(4)) {
    case 0: return random.between(1ms, 50ms);
    case 1: return random.between(50ms, 2s);
    case 2: return random.between(1s, 20s);
    default: return random.between(10s, 90s);
  }
}

Duration moment_of(Random& random, Duration latency) {
  return random.chance(70) ? random.between(Duration{}, 40 * latency) : while_of(random);
}

Deed host_deed(Random& random) {
  constexpr std::array kDeadly = {Deed::kill, Deed::kill, Deed::power, Deed::eio, Deed::eio, Deed::enospc};
  return random.pick(kDeadly);
}

Deed message_deed(Random& random) {
  constexpr std::array kLinked = {Deed::kill,    Deed::kill, Deed::power, Deed::cut,     Deed::cut,
                                  Deed::cut_one, Deed::dark, Deed::dark,  Deed::one_way, Deed::cancel,
                                  Deed::shut_down};
  return random.pick(kLinked);
}

Deed timed_deed(Random& random) {
  constexpr std::array kTimed = {Deed::kill, Deed::power,  Deed::cut,       Deed::cut_one,    Deed::cut_one,
                                 Deed::dark, Deed::cancel, Deed::shut_down, Deed::lose_track, Deed::replay,
                                 Deed::replay};
  return random.pick(kTimed);
}

template <typename A, typename B>
std::string point_of(const char* subject, const A& object, const B& step) {
  return std::string(subject) + "." + object + "." + step;
}

Fault fault_of(Random& random, const Plan& plan) {
  Fault fault;
  fault.lasts = while_of(random);
  fault.strikes_other = random.chance(25);
  fault.persists = random.chance(20);
  const std::uint64_t kind = random.below(100);
  if (kind < 35) {
    fault.point = point_of("journal", random.pick(kRecordsOfHandOver), random.pick(kJournalSteps));
    fault.deed = random.chance(70) ? host_deed(random) : message_deed(random);
  } else if (kind < 60) {
    fault.point = point_of("message", random.pick(kMessages), random.pick(kMessageSteps));
    fault.nth = random.chance(70) ? 1 : 1 + static_cast<unsigned>(random.below(4));
    fault.deed = message_deed(random);
  } else if (kind < 67) {
    fault.is_at_any_message = true;
    fault.nth = 1 + static_cast<unsigned>(random.below(30));
    fault.deed = message_deed(random);
  } else if (kind < 80) {
    fault.point = random.pick(kHostSteps);
    fault.deed = host_deed(random);
  } else if (kind < 88) {
    fault.point = random.pick(kDiskSteps);
    fault.nth = 1 + static_cast<unsigned>(random.below(6));
    fault.deed = host_deed(random);
  } else {
    fault.when = moment_of(random, plan.latency);
    fault.deed = timed_deed(random);
    fault.strikes_other = random.chance(50);
  }
  // What fails is the operation itself, and a tracker is lost where it is.
  if (fault.deed == Deed::eio || fault.deed == Deed::enospc) fault.strikes_other = false;
  return fault;
}

unsigned fault_count(Random& random) {
  constexpr std::array<unsigned, 10> kCounts = {0, 1, 1, 1, 2, 2, 2, 3, 3, 4};
  return random.pick(kCounts);
}

}  // namespace

const char* text_of(Deed deed) {
  constexpr std::array<const char*, kDeeds> kTexts = {"kill",    "power", "eio",     "enospc", "cut",       "cut_one",
                                                      "dark",    "one_way", "cancel", "shut_down", "lose_track",
                                                      "replay"};
  return kTexts.at(static_cast<std::size_t>(deed));
}

std::string text_of(const Fault& fault) {
  const std::string what = std::string(text_of(fault.deed)) + (fault.strikes_other ? " of the other" : "") +
                           (fault.persists ? ", for good" : "");
  const std::string nth = "@" + std::to_string(fault.nth);
  if (fault.is_at_any_message) return what + " at message " + nth;
  if (!fault.point.empty()) return what + " at " + fault.point + nth;
  return what + " after " + std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(fault.when).count()) +
         " ms";
}

Plan plan_of(Random& random) {
  Plan plan;
  plan.is_pull = random.chance(40);
  plan.has_command = random.chance(35);
  plan.latency = random.between(100us, random.chance(80) ? 5ms : 200ms);
  plan.bytes_per_second = random.chance(85) ? 100'000'000 : 6'000 + random.below(40'000);
  plan.options.on_stall = random.chance(50) ? OnStall::abort : OnStall::freeze;
  plan.options.rounds_max = 2 + static_cast<std::uint32_t>(random.below(3));
  plan.options.downtime_max = std::chrono::milliseconds(random.chance(50) ? 1000 : 350);
  plan.options.freeze_timeout = std::chrono::milliseconds(random.chance(70) ? 10'000 : 1'000);
  plan.options.verifies = random.chance(15);
  plan.options.streams = 1 + static_cast<std::uint32_t>(random.below(3));
  plan.write_every = random.between(1ms, 20 * plan.latency + 2ms);
  plan.writes_at_once = random.chance(80) ? 1 : 4;
  plan.starts_at_boot = random.chance(50);
  plan.has_second = random.chance(35);
  plan.second_after = while_of(random);
  plan.heals_after = random.between(40s, 120s);
  const unsigned faults = fault_count(random);
  for (unsigned i = 0; i < faults; ++i) plan.faults.push_back(fault_of(random, plan));
  return plan;
}

}  // namespace vmigrate::sim

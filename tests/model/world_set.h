// SPDX-License-Identifier: GPL-2.0-or-later
// All worlds seen so far, each once, numbered in the order in which they were found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/model/world.h"

namespace vmigrate::model {

class WorldSet {
 public:
  struct Inserted {
    std::uint32_t number = 0;
    bool is_new = false;
  };

  WorldSet() : slots_(kSlotsAtFirst, kEmpty) {}

  Inserted insert(const World& world) {
    if (worlds_.size() * 2 >= slots_.size()) grow();
    std::uint32_t& slot = slot_of(world);
    const bool is_new = slot == kEmpty;
    if (is_new) {
      slot = static_cast<std::uint32_t>(worlds_.size());
      worlds_.push_back(world);
    }
    return {slot, is_new};
  }

  /// A lookup of `world` is about to come: most of its time is waiting for memory.
  void announce(const World& world) const { __builtin_prefetch(&slots_[hash(world) & (slots_.size() - 1)]); }

  const World& operator[](std::size_t number) const { return worlds_[number]; }
  std::size_t size() const { return worlds_.size(); }

 private:
  static constexpr std::uint32_t kEmpty = UINT32_MAX;
  static constexpr std::size_t kSlotsAtFirst = 1 << 16;   // always a power of two

  static std::uint64_t hash(const World& world) {
    std::uint64_t words[(sizeof(World) + 7) / 8] = {};
    std::memcpy(words, &world, sizeof(World));
    std::uint64_t sum = 0;
    for (const std::uint64_t word : words) {
      sum = (sum ^ word) * 0x9e3779b97f4a7c15;
      sum ^= sum >> 32;
    }
    return sum;
  }

  std::uint32_t& slot_of(const World& world) {
    std::size_t at = hash(world) & (slots_.size() - 1);
    while (slots_[at] != kEmpty && !is_same(worlds_[slots_[at]], world))
      at = (at + 1) & (slots_.size() - 1);
    return slots_[at];
  }

  void grow() {
    slots_.assign(slots_.size() * 2, kEmpty);
    for (std::size_t i = 0; i < worlds_.size(); ++i) slot_of(worlds_[i]) = static_cast<std::uint32_t>(i);
  }

  std::vector<World> worlds_;
  std::vector<std::uint32_t> slots_;
};

}  // namespace vmigrate::model

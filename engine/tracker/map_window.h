// SPDX-License-Identifier: GPL-2.0-or-later
// A BPF map's memory in our address space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace vmigrate {

/// A part of a map's memory, shared with the programs. Unmapped on destruction.
class MapWindow {
 public:
  /// `offset` is a multiple of the page size. Throws Error.
  MapWindow(int map, std::uint64_t offset, std::size_t bytes);
  MapWindow(MapWindow&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}
  MapWindow& operator=(MapWindow&&) = delete;
  ~MapWindow();
  std::span<std::uint64_t> words() const {
    return {reinterpret_cast<std::uint64_t*>(memory_.data()), memory_.size() / 8};
  }

 private:
  std::span<std::byte> memory_;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/tracker/map_window.h"

#include <cerrno>

#include <sys/mman.h>

#include "base/error.h"

namespace vmigrate {

MapWindow::MapWindow(int map, std::uint64_t offset, std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, static_cast<off_t>(offset));
  if (memory == MAP_FAILED) throw Error(errno, "mmap", "BPF map");
  memory_ = {static_cast<std::byte*>(memory), bytes};
}

MapWindow::~MapWindow() {
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

}  // namespace vmigrate

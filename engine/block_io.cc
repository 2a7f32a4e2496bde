// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/block_io.h"

namespace vmigrate {

Task<> BlockSource::read_each(std::span<const Extent> extents, std::span<std::byte> into) {
  for (const auto& extent : extents) {
    co_await read(extent, into.first(extent.bytes()));
    into = into.subspan(extent.bytes());
  }
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// A destination without a disk.
#pragma once

#include "engine/block_io.h"

namespace vmigrate {

/// Takes everything and keeps nothing: what reading, scanning and digesting cost without a disk behind.
class NullSink final : public BlockSink {
 public:
  Task<> write(Extent, std::span<const std::byte>) override { co_return; }
  Task<> write_zeroes(Extent) override { co_return; }
  Task<> flush() override { co_return; }
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// A block source in use, that can be made to stand still.
#pragma once

#include <memory>

#include "engine/block_io.h"

namespace vmigrate {

/// Proof that nothing writes: the file system is flushed and held (FIFREEZE), the device's own page cache is written
/// back. Lets go on destruction, which logs a failure and never throws.
class QuietVolume {
 public:
  virtual ~QuietVolume() = default;
};

/// A volume that a container is using.
class Volume : public BlockSource {
 public:
  /// Writes the file system's dirty pages to the device without stopping anybody, so that what is left for the freeze
  /// is small and counted.
  virtual Task<> write_back() = 0;
  /// Stops and flushes the file system. Call with the container frozen and after CRIU has dumped it, since CRIU may
  /// create links inside. Throws Error and holds nothing on failure.
  virtual Task<std::unique_ptr<QuietVolume>> quiesce() = 0;
};

}  // namespace vmigrate

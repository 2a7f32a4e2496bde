// SPDX-License-Identifier: GPL-2.0-or-later
// The blocks of a file or device, read.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/unique_fd.h"
#include "engine/block.h"

namespace vmigrate {

/// Blocking reads of whole blocks; several threads may read at a time.
class RawFile {
 public:
  enum class Access { buffered, direct };

  /// The volume begins `offset` bytes into the file. `name` is for messages.
  RawFile(UniqueFd file, std::string name, VolumeGeometry geometry, std::uint64_t offset, Access access);

  VolumeGeometry geometry() const { return geometry_; }
  /// As BlockSource::read().
  void read(Extent extent, std::span<std::byte> into) const;
  /// As BlockSource::next_data(). Only regular files know holes.
  std::optional<Extent> next_data(BlockIndex from) const;

 private:
  void read_aligned(Extent extent, std::span<std::byte> into) const;

  UniqueFd file_;
  std::string name_;
  VolumeGeometry geometry_;
  std::uint64_t offset_;
  Access access_;
  bool knows_holes_;
};

/// The size of a regular file or block device.
VolumeGeometry geometry_of(int fd, const std::string& name);

}  // namespace vmigrate

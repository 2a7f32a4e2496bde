// SPDX-License-Identifier: GPL-2.0-or-later
// `vmigrate image create`: a root file system that is a plain directory or a tar becomes an image.
#pragma once

#include <cstdint>
#include <filesystem>

namespace vmigrate {

struct ImageRequest {
  std::filesystem::path from;   ///< a directory, or a tar archive
  std::uint64_t bytes = 0;      ///< a multiple of 4096
  std::filesystem::path image;  ///< must not exist
};
/// Writes an ext4 file system with the content of `from` into a sparse raw file; owners, modes, links and extended
/// attributes are kept. Blocking. Throws Error (already_exists, no_space when it does not fit, usage) and leaves no
/// file behind.
void create_image(const ImageRequest& request);

}  // namespace vmigrate

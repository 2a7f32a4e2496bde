// SPDX-License-Identifier: GPL-2.0-or-later
// A raw image file or a device as sink.
#pragma once

#include <filesystem>
#include <memory>

#include "base/async.h"
#include "engine/block_io.h"

namespace vmigrate {

/// A new sparse file of geometry.bytes as sink, mode 0600. Throws Error(Errc::already_exists) or no_space: the whole
/// size is not reserved, `bytes_expected` is checked against the free space. The file stays when the sink goes. `pool`
/// must outlive it; writes of different extents may run at the same time.
std::unique_ptr<BlockSink> create_image_sink(asio::thread_pool& pool, const std::filesystem::path& path,
                                             VolumeGeometry geometry, std::uint64_t bytes_expected);
/// A file that is there already, as it is: what is not written over stays. Throws Error(Errc::copy_failed) unless it is
/// a regular file of exactly geometry.bytes.
std::unique_ptr<BlockSink> open_image_sink(asio::thread_pool& pool, const std::filesystem::path& path,
                                           VolumeGeometry geometry);
/// An existing file or block device as sink; it must be at least geometry.bytes large. It is zeroed first, which
/// blocks, and on a device that cannot do it by itself takes as long as writing it. A device in use is refused (EBUSY).
std::unique_ptr<BlockSink> open_device_sink(asio::thread_pool& pool, const std::filesystem::path& path,
                                            VolumeGeometry geometry);

}  // namespace vmigrate

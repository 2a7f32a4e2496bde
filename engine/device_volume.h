// SPDX-License-Identifier: GPL-2.0-or-later
// A block device, a loop image or a plain file as volume or source.
#pragma once

#include <filesystem>
#include <memory>

#include "base/async.h"
#include "engine/image_sink.h"
#include "engine/mounted_device.h"
#include "engine/mounted_image.h"
#include "engine/volume.h"

namespace vmigrate {

/// A volume in use. A loop device is read through its backing file, any other device with O_DIRECT: the page cache of
/// the device itself does not see what the file system writes. `pool` must outlive it. Throws
/// Error(Errc::rootfs_not_on_device) when `device` is no longer what is mounted, or no longer backed by that file.
std::unique_ptr<Volume> open_volume(asio::thread_pool& pool, const MountedDevice& device);
/// A raw file or device that nobody writes, as source.
std::unique_ptr<BlockSource> open_source(asio::thread_pool& pool, const std::filesystem::path& path);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The checkpoint's files, over the wire.
#pragma once

#include "base/async.h"
#include "checkpoint/image_dir.h"
#include "migrate/pacer.h"
#include "transport/channel.h"

namespace vmigrate {

/// Sends every file in chunks of at most 1 MiB, then the Manifest. Returns the bytes of all files.
Task<std::uint64_t> send_image(asio::thread_pool& pool, const ImageDir& image, Channel& channel, Pacer& pacer);

/// Writes one received chunk. Throws Error for a name or size that the directory refuses.
Task<> store_chunk(asio::thread_pool& pool, const ImageChunk& chunk, ImageDir& image);
/// Compares the directory with the Manifest. Throws Error(Errc::digest_mismatch) naming the first difference.
Task<> verify_image(asio::thread_pool& pool, const Manifest& manifest, const ImageDir& image);

}  // namespace vmigrate

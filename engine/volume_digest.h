// SPDX-License-Identifier: GPL-2.0-or-later
// Digest of a whole volume, read anew.
#pragma once

#include "base/async.h"
#include "base/bytes.h"
#include "engine/block_io.h"

namespace vmigrate {

/// Reads every block and returns what DigestIndex::root() would be for this content.
Task<Bits128> digest_volume(asio::thread_pool& pool, BlockSource& source);

/// How much of the volume may hold data: all of it where holes are not known.
std::uint64_t used_bytes(BlockSource& source);

}  // namespace vmigrate

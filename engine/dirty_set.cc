// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/dirty_set.h"

namespace vmigrate {

DirtySet::DirtySet(std::uint64_t block_count, std::size_t bytes_max)
    : block_count_(block_count), chunks_with_words_max_(bytes_max), chunks_((block_count + kChunkBlocks - 1) / kChunkBlocks) {}

}  // namespace vmigrate

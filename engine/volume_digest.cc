// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/volume_digest.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "engine/digest_index.h"
#include "engine/zero_scan.h"

namespace vmigrate {
namespace {

struct Free {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};

Bits128 add(Bits128 a, Bits128 b) {
  const std::uint64_t low = a.low + b.low;
  return {low, a.high + b.high + (low < a.low ? 1 : 0)};
}

Bits128 digest_sum(Extent extent, std::span<const std::byte> bytes) {
  Bits128 sum;
  for (std::uint64_t i = 0; i < extent.count; ++i) {
    const auto block = bytes.subspan(i * kBlockBytes, kBlockBytes);
    if (!is_zero(block)) sum = add(sum, DigestIndex::digest_of({extent.first.value + i}, block));
  }
  return sum;
}

}  // namespace

Task<Bits128> digest_volume(asio::thread_pool& pool, BlockSource& source) {
  // Page-aligned for O_DIRECT.
  const std::unique_ptr<std::byte[], Free> buffer(
      static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kExtentBlocksMax * kBlockBytes)));
  if (!buffer) throw std::bad_alloc();
  Bits128 root;
  BlockIndex at;
  for (auto run = source.next_data(at); run; run = source.next_data(at)) {
    const Extent extent{run->first, std::min(run->count, kExtentBlocksMax)};
    const std::span<std::byte> bytes(buffer.get(), extent.bytes());
    co_await source.read(extent, bytes);
    const Bits128 sum = co_await offload(pool, [extent, bytes] { return digest_sum(extent, bytes); });
    root = add(root, sum);
    at = extent.end();
  }
  co_return root;
}

std::uint64_t used_bytes(BlockSource& source) {
  std::uint64_t bytes = 0;
  BlockIndex at;
  for (auto run = source.next_data(at); run; run = source.next_data(at)) {
    bytes += run->bytes();
    at = run->end();
  }
  return bytes;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/digest_index.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "base/error.h"
#include "engine/zero_scan.h"

namespace vmigrate {
namespace {

/// How many digests are handled at a time: one page of the file's worth, 64 KiB.
constexpr std::uint64_t kDigestsAtATime = 4096;
static_assert(sizeof(Bits128) == 16);

off_t place_of(BlockIndex index) { return static_cast<off_t>(index.value * sizeof(Bits128)); }

UniqueFd make_nameless_file(const std::filesystem::path& directory) {
  UniqueFd file(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file.is_open()) return file;
  // Not every file system has O_TMPFILE.
  auto name = (directory / "digests.XXXXXX").string();
  file.reset(check_syscall(::mkostemp(name.data(), O_CLOEXEC), "mkostemp", name));
  ::unlink(name.c_str());
  return file;
}

using Wide = unsigned __int128;
Wide widen(Bits128 bits) { return Wide{bits.high} << 64 | bits.low; }
Bits128 narrow(Wide wide) { return {static_cast<std::uint64_t>(wide), static_cast<std::uint64_t>(wide >> 64)}; }

}  // namespace

DigestIndex::DigestIndex(VolumeGeometry geometry, const std::filesystem::path& directory)
    : geometry_(geometry), file_(make_nameless_file(directory)) {
  check_syscall(::ftruncate(file_.get(), place_of({geometry.block_count()})), "ftruncate", "digest index");
}

std::uint64_t DigestIndex::update(Extent extent, std::span<const std::byte> blocks) {
  MIGRATE_ASSERT(blocks.size() == extent.bytes());
  std::vector<Bits128> digests(extent.count);
  for (std::uint64_t i = 0; i < extent.count; ++i)
    digests[i] = digest_of({extent.first.value + i}, blocks.subspan(i * kBlockBytes, kBlockBytes));
  return record(extent, digests);
}

std::uint64_t DigestIndex::update_zeroes(Extent extent) {
  std::uint64_t changed = 0;
  auto rest = extent;
  while (const auto run = next_nonzero(rest)) {
    const std::vector<Bits128> zeroes(run->count);
    changed += record(*run, zeroes);
    rest = {run->end(), extent.end().value - run->end().value};
  }
  if (changed > 0) punch(extent);
  return changed;
}

std::uint64_t DigestIndex::record(Extent extent, std::span<const Bits128> digests) {
  MIGRATE_ASSERT(digests.size() == extent.count);
  std::vector<Bits128> before(extent.count);
  recorded(extent, before);
  std::uint64_t changed = 0;
  Wide difference = 0;
  for (std::size_t i = 0; i < digests.size(); ++i) {
    if (digests[i] == before[i]) continue;
    difference += widen(digests[i]) - widen(before[i]);
    ++changed;
  }
  if (changed == 0) return 0;
  write(extent, digests);
  const std::lock_guard lock(root_mutex_);
  root_ = narrow(widen(root_) + difference);
  return changed;
}

Bits128 DigestIndex::root() const {
  const std::lock_guard lock(root_mutex_);
  return root_;
}

void DigestIndex::recorded(Extent extent, std::span<Bits128> into) const {
  MIGRATE_ASSERT(into.size() == extent.count && extent.end().value <= geometry_.block_count());
  auto bytes = std::as_writable_bytes(into);
  for (auto place = place_of(extent.first); !bytes.empty();) {
    const auto got = ::pread(file_.get(), bytes.data(), bytes.size(), place);
    if (got < 0 && errno == EINTR) continue;
    if (check_syscall(got, "pread", "digest index") == 0)
      throw Error(Errc::internal, "the digest index became shorter");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    place += got;
  }
}

std::optional<Extent> DigestIndex::next_nonzero(Extent within) const {
  std::vector<Bits128> digests;
  for (auto at = within.first; at < within.end();) {
    const auto data = ::lseek(file_.get(), place_of(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return std::nullopt;
    check_syscall(data < 0 ? -1 : 0, "lseek(SEEK_DATA)", "digest index");
    at = std::max(at, BlockIndex{static_cast<std::uint64_t>(data) / sizeof(Bits128)});
    if (at >= within.end()) return std::nullopt;
    digests.resize(std::min(within.end().value - at.value, kDigestsAtATime));
    recorded({at, digests.size()}, digests);
    const auto is_nonzero = [](Bits128 digest) { return digest != Bits128{}; };
    const auto first = std::find_if(digests.begin(), digests.end(), is_nonzero);
    if (first != digests.end()) {
      const auto end = std::find_if_not(first, digests.end(), is_nonzero);
      return Extent{{at.value + static_cast<std::uint64_t>(first - digests.begin())},
                    static_cast<std::uint64_t>(end - first)};
    }
    at.value += digests.size();
  }
  return std::nullopt;
}

Bits128 DigestIndex::digest_of(BlockIndex index, std::span<const std::byte> block) {
  if (is_zero(block)) return {};
  const auto digest = XXH3_128bits_withSeed(block.data(), block.size(), index.value);
  return {digest.low64, digest.high64};
}

void DigestIndex::write(Extent extent, std::span<const Bits128> digests) {
  auto bytes = std::as_bytes(digests);
  for (auto place = place_of(extent.first); !bytes.empty();) {
    const auto put = ::pwrite(file_.get(), bytes.data(), bytes.size(), place);
    if (put < 0 && errno == EINTR) continue;
    check_syscall(put < 0 ? -1 : 0, "pwrite", "digest index");
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    place += put;
  }
}

/// Gives back the file's memory behind blocks that are zeroes now; only saves room, so a failure does not matter.
void DigestIndex::punch(Extent extent) {
  const auto bytes = static_cast<off_t>(extent.count * sizeof(Bits128));
  [[maybe_unused]] const auto result =
      ::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, place_of(extent.first), bytes);
}

}  // namespace vmigrate

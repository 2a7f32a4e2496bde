// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/raw_file.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "base/error.h"

namespace vmigrate {
namespace {

struct stat status_of(int fd, const std::string& name) {
  struct stat status {};
  check_syscall(::fstat(fd, &status), "fstat", name);
  return status;
}

bool is_page_aligned(const std::byte* address) { return reinterpret_cast<std::uintptr_t>(address) % kBlockBytes == 0; }

struct Free {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using AlignedBytes = std::unique_ptr<std::byte[], Free>;

AlignedBytes allocate_aligned(std::size_t bytes) {
  AlignedBytes memory(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, bytes)));
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

RawFile::RawFile(UniqueFd file, std::string name, VolumeGeometry geometry, std::uint64_t offset, Access access)
    : file_(std::move(file)),
      name_(std::move(name)),
      geometry_(geometry),
      offset_(offset),
      access_(access),
      knows_holes_(S_ISREG(status_of(file_.get(), name_).st_mode)) {}

void RawFile::read(Extent extent, std::span<std::byte> into) const {
  if (access_ == Access::buffered || is_page_aligned(into.data())) return read_aligned(extent, into);
  const auto bounce = allocate_aligned(into.size());
  read_aligned(extent, {bounce.get(), into.size()});
  std::memcpy(into.data(), bounce.get(), into.size());
}

void RawFile::read_aligned(Extent extent, std::span<std::byte> into) const {
  const auto begin = extent.first.value * kBlockBytes;
  const auto wanted = std::min(extent.bytes(), geometry_.bytes - begin);
  // A direct read takes whole blocks and is cut short by the end of the device; a buffered one must not see past the
  // volume.
  const auto asked = access_ == Access::direct ? extent.bytes() : wanted;
  std::uint64_t filled = 0;
  while (filled < wanted) {
    const auto got =
        ::pread(file_.get(), into.data() + filled, asked - filled, static_cast<off_t>(offset_ + begin + filled));
    if (got < 0 && errno == EINTR) continue;
    check_syscall(got < 0 ? -1 : 0, "pread", name_);
    if (got == 0) throw Error(Errc::copy_failed, "reading " + name_ + ": it ends before its last block");
    filled += static_cast<std::uint64_t>(got);
  }
  std::memset(into.data() + wanted, 0, into.size() - wanted);
}

std::optional<Extent> RawFile::next_data(BlockIndex from) const {
  const auto block_count = geometry_.block_count();
  if (from.value >= block_count) return std::nullopt;
  const Extent everything{from, block_count - from.value};
  if (!knows_holes_) return everything;
  const auto data = ::lseek(file_.get(), static_cast<off_t>(offset_ + from.value * kBlockBytes), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? std::nullopt : std::optional(everything);
  const auto hole = ::lseek(file_.get(), data, SEEK_HOLE);
  if (hole < 0) return everything;
  if (hole == data) return next_data(from);  // discarded between the two questions
  const auto first = (static_cast<std::uint64_t>(data) - offset_) / kBlockBytes;
  const auto end = (static_cast<std::uint64_t>(hole) - offset_ + kBlockBytes - 1) / kBlockBytes;
  if (first >= block_count) return std::nullopt;
  return Extent{{first}, std::min(end, block_count) - first};
}

VolumeGeometry geometry_of(int fd, const std::string& name) {
  const auto status = status_of(fd, name);
  if (S_ISREG(status.st_mode)) return {static_cast<std::uint64_t>(status.st_size)};
  if (!S_ISBLK(status.st_mode)) throw Error(Errc::usage, name + " is neither a file nor a block device");
  std::uint64_t bytes = 0;
  check_syscall(::ioctl(fd, BLKGETSIZE64, &bytes), "ioctl(BLKGETSIZE64)", name);
  return {bytes};
}

}  // namespace vmigrate

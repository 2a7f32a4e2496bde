// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/image_sink.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/raw_file.h"

namespace vmigrate {
namespace {

constexpr std::uint64_t kSectorBytes = 512;

[[noreturn]] void throw_no_space(const std::string& path) {
  throw Error(Errc::disk_full, "writing " + path + ": no space left on the file system it is on");
}

/// Blocking writes to one file or device.
class RawOutput {
 public:
  RawOutput(UniqueFd file, std::string path, VolumeGeometry geometry)
      : file_(std::move(file)), path_(std::move(path)), geometry_(geometry) {
    struct stat status {};
    check_syscall(::fstat(file_.get(), &status), "fstat", path_);
    is_device_ = S_ISBLK(status.st_mode);
  }

  void write(Extent extent, std::span<const std::byte> blocks) const {
    const auto begin = extent.first.value * kBlockBytes;
    write_at(begin, blocks.first(bytes_of(extent)));
    // Starts the disk now instead of at the flush; failures come back from fdatasync.
    ::sync_file_range(file_.get(), static_cast<off_t>(begin), static_cast<off_t>(extent.bytes()),
                      SYNC_FILE_RANGE_WRITE);
  }

  void write_zeroes(Extent extent) const {
    const auto begin = extent.first.value * kBlockBytes;
    const auto bytes = bytes_of(extent);
    if (is_device_ ? zero_on_device(begin, bytes) : punch(begin, bytes)) return;
    static constexpr std::array<std::byte, 64 * kBlockBytes> kZeroes{};
    for (std::uint64_t done = 0; done < bytes; done += kZeroes.size())
      write_at(begin + done, std::span(kZeroes).first(std::min<std::uint64_t>(kZeroes.size(), bytes - done)));
  }

  void flush() const {
    if (::fdatasync(file_.get()) == 0) return;
    if (errno == ENOSPC) throw_no_space(path_);
    throw Error(errno, "fdatasync", path_);
  }

 private:
  /// The last block of a volume may be partial.
  std::uint64_t bytes_of(Extent extent) const {
    return std::min(extent.bytes(), geometry_.bytes - extent.first.value * kBlockBytes);
  }

  void write_at(std::uint64_t place, std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const auto put = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(place));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0 && (errno == ENOSPC || errno == EDQUOT)) throw_no_space(path_);
      check_syscall(put < 0 ? -1 : 0, "pwrite", path_);
      bytes = bytes.subspan(static_cast<std::size_t>(put));
      place += static_cast<std::uint64_t>(put);
    }
  }

  bool punch(std::uint64_t begin, std::uint64_t bytes) const {
    const auto result = ::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                                    static_cast<off_t>(bytes));
    if (result == 0) return true;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return false;
    if (errno == ENOSPC) throw_no_space(path_);
    throw Error(errno, "fallocate(PUNCH_HOLE)", path_);
  }

  bool zero_on_device(std::uint64_t begin, std::uint64_t bytes) const {
    if (bytes % kSectorBytes != 0) return false;
    std::array<std::uint64_t, 2> range{begin, bytes};
    const auto result = ::ioctl(file_.get(), BLKZEROOUT, range.data());
    if (result < 0 && (errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL)) return false;
    check_syscall(result, "ioctl(BLKZEROOUT)", path_);
    return true;
  }

  UniqueFd file_;
  std::string path_;
  VolumeGeometry geometry_;
  bool is_device_ = false;
};

class FileSink final : public BlockSink {
 public:
  FileSink(asio::thread_pool& pool, RawOutput output) : pool_(pool), output_(std::move(output)) {}

  Task<> write(Extent extent, std::span<const std::byte> blocks) override {
    co_await offload(pool_, [this, extent, blocks] { output_.write(extent, blocks); });
  }
  Task<> write_zeroes(Extent extent) override {
    co_await offload(pool_, [this, extent] { output_.write_zeroes(extent); });
  }
  Task<> flush() override {
    co_await offload(pool_, [this] { output_.flush(); });
  }

 private:
  asio::thread_pool& pool_;
  RawOutput output_;
};

void check_free_space(const std::filesystem::path& path, std::uint64_t bytes_expected) {
  const auto directory = path.has_parent_path() ? path.parent_path().string() : std::string(".");
  struct statvfs room {};
  check_syscall(::statvfs(directory.c_str(), &room), "statvfs", directory);
  const auto bytes_free = std::uint64_t{room.f_bavail} * room.f_frsize;
  if (bytes_free >= bytes_expected) return;
  throw Error(Errc::no_space, "no room for " + path.string() + ": " + std::to_string(bytes_expected) +
                                  " bytes expected, " + std::to_string(bytes_free) + " free in " + directory);
}

UniqueFd create_new(const std::filesystem::path& path) {
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.is_open() && errno == EEXIST) throw Error(Errc::already_exists, path.string() + " exists already");
  check_syscall(file.get(), "open", path.string());
  return file;
}

}  // namespace

std::unique_ptr<BlockSink> create_image_sink(asio::thread_pool& pool, const std::filesystem::path& path,
                                             VolumeGeometry geometry, std::uint64_t bytes_expected) {
  check_free_space(path, bytes_expected);
  auto file = create_new(path);
  if (::ftruncate(file.get(), static_cast<off_t>(geometry.bytes)) < 0) {
    const int saved_errno = errno;
    ::unlink(path.c_str());
    throw Error(saved_errno, "ftruncate", path.string());
  }
  return std::make_unique<FileSink>(pool, RawOutput(std::move(file), path.string(), geometry));
}

std::unique_ptr<BlockSink> open_image_sink(asio::thread_pool& pool, const std::filesystem::path& path,
                                           VolumeGeometry geometry) {
  UniqueFd file(check_syscall(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC), "open", path.string()));
  struct stat status {};
  check_syscall(::fstat(file.get(), &status), "fstat", path.string());
  if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != geometry.bytes)
    throw Error(Errc::copy_failed, path.string() + " is no image of " + std::to_string(geometry.bytes) + " bytes");
  return std::make_unique<FileSink>(pool, RawOutput(std::move(file), path.string(), geometry));
}

std::unique_ptr<BlockSink> open_device_sink(asio::thread_pool& pool, const std::filesystem::path& path,
                                            VolumeGeometry geometry) {
  // Without O_CREAT, O_EXCL asks a block device whether anybody else uses it.
  const int exclusive = std::filesystem::is_block_file(path) ? O_EXCL : 0;
  UniqueFd file(check_syscall(::open(path.c_str(), O_RDWR | O_CLOEXEC | exclusive), "open", path.string()));
  const auto found = geometry_of(file.get(), path.string());
  if (found.bytes < geometry.bytes)
    throw Error(Errc::no_space, path.string() + " holds " + std::to_string(found.bytes) + " bytes, " +
                                    std::to_string(geometry.bytes) + " are needed");
  RawOutput output(std::move(file), path.string(), geometry);
  if (geometry.block_count() > 0) output.write_zeroes({{0}, geometry.block_count()});
  return std::make_unique<FileSink>(pool, std::move(output));
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/tracker/scratch_device.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

UniqueFd open_or_throw(const fs::path& path, int flags) {
  return UniqueFd(check_syscall(::open(path.c_str(), flags | O_CLOEXEC, 0600), "open", path.native()));
}

void write_text(const fs::path& path, const std::string& text) {
  const auto fd = open_or_throw(path, O_WRONLY);
  check_syscall(::write(fd.get(), text.data(), text.size()), "write", path.native());
}

void* aligned_buffer(std::size_t bytes) {
  void* buffer = nullptr;
  if (::posix_memalign(&buffer, 4096, bytes) != 0) throw std::bad_alloc();
  return buffer;
}

/// Attaches `file` to the loop device `node`, or to any free one, and names it, if `node` is empty.
UniqueFd attach_loop(const UniqueFd& file, fs::path& node) {
  const auto control = open_or_throw("/dev/loop-control", O_RDWR);
  loop_config config{};
  config.fd = static_cast<__u32>(file.get());
  config.info.lo_flags = LO_FLAGS_PARTSCAN;
  for (int attempt = 0;; ++attempt) {  // somebody else may take the free device first
    if (node.empty())
      node = "/dev/loop" +
             std::to_string(check_syscall(::ioctl(control.get(), LOOP_CTL_GET_FREE), "ioctl(LOOP_CTL_GET_FREE)"));
    auto fd = open_or_throw(node, O_RDWR);
    if (::ioctl(fd.get(), LOOP_CONFIGURE, &config) == 0) return fd;
    if (errno != EBUSY || attempt == 20) throw Error(errno, "ioctl(LOOP_CONFIGURE)", node.native());
    std::this_thread::sleep_for(20ms);
    node.clear();
  }
}

class HeldVolume final : public QuietVolume {
 public:
  explicit HeldVolume(UniqueFd mount) : mount_(std::move(mount)) {
    if (mount_.is_open()) check_syscall(::ioctl(mount_.get(), FIFREEZE, 0), "ioctl(FIFREEZE)");
  }
  ~HeldVolume() override {
    if (mount_.is_open()) ::ioctl(mount_.get(), FITHAW, 0);
  }

 private:
  UniqueFd mount_;
};

class ScratchVolume final : public Volume {
 public:
  ScratchVolume(const ScratchDevice& device, const fs::path& mount_point)
      : node_(open_or_throw(device.node(), O_RDONLY)),
        mount_point_(mount_point),
        is_file_(device.file() != device.node()) {
    file_ = open_or_throw(device.file(), is_file_ ? O_RDONLY : O_RDONLY | O_DIRECT);
    check_syscall(::ioctl(node_.get(), BLKGETSIZE64, &geometry_.bytes), "ioctl(BLKGETSIZE64)");
  }

  VolumeGeometry geometry() const override { return geometry_; }

  Task<> read(Extent extent, std::span<std::byte> into) override {
    const std::unique_ptr<void, decltype(&std::free)> buffer(aligned_buffer(into.size()), &std::free);
    const auto offset = static_cast<off_t>(extent.first.value * kBlockBytes);
    const auto got = check_syscall(::pread(file_.get(), buffer.get(), into.size(), offset), "pread");
    if (static_cast<std::size_t>(got) != into.size()) throw Error(EIO, "pread", "short");
    std::memcpy(into.data(), buffer.get(), into.size());
    co_return;
  }

  std::optional<Extent> next_data(BlockIndex from) override {
    const BlockIndex end{geometry_.block_count()};
    if (from >= end) return std::nullopt;
    if (!is_file_) return Extent{from, end.value - from.value};
    auto data = static_cast<off_t>(from.value * kBlockBytes), hole = data;
    while (hole == data) {  // data that is discarded between the two calls is a hole by then
      data = ::lseek(file_.get(), data, SEEK_DATA);
      if (data < 0 && errno == ENXIO) return std::nullopt;
      hole = ::lseek(file_.get(), data, SEEK_HOLE);
      if (data < 0 || hole < 0) throw Error(errno, "lseek");
    }
    const auto first = static_cast<std::uint64_t>(data) / kBlockBytes;
    return Extent{{first}, (static_cast<std::uint64_t>(hole) + kBlockBytes - 1) / kBlockBytes - first};
  }

  Task<> write_back() override {
    if (!mount_point_.empty()) check_syscall(::syncfs(open_or_throw(mount_point_, O_RDONLY).get()), "syncfs");
    check_syscall(::fsync(node_.get()), "fsync");
    co_return;
  }

  Task<std::unique_ptr<QuietVolume>> quiesce() override {
    UniqueFd mount;
    if (!mount_point_.empty()) mount = open_or_throw(mount_point_, O_RDONLY);
    auto quiet = std::make_unique<HeldVolume>(std::move(mount));
    check_syscall(::fsync(node_.get()), "fsync");
    co_return quiet;
  }

 private:
  UniqueFd node_;
  UniqueFd file_;
  fs::path mount_point_;
  bool is_file_;
  VolumeGeometry geometry_;
};

}  // namespace

std::optional<std::string> reason_to_skip_root_tests() {
  if (::geteuid() != 0) return "not root";
  if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) return "the kernel has no type information (BTF)";
  if (::access("/dev/loop-control", R_OK | W_OK) != 0) return "no loop devices";
  return std::nullopt;
}

bool has_zram() { return ::access("/sys/class/zram-control/hot_add", R_OK) == 0; }

ScratchDirectory::ScratchDirectory(const fs::path& parent) {
  std::string name = (parent / "vmigrate-tracker.XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw Error(errno, "mkdtemp", name);
  path_ = name;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

LoopDevice::LoopDevice(std::uint64_t bytes, const fs::path& directory) : bytes_(bytes), directory_(directory) {
  attach(file());
}

LoopDevice::~LoopDevice() { detach(); }

void LoopDevice::attach(const fs::path& path) {
  const auto file = open_or_throw(path, O_RDWR | O_CREAT);
  check_syscall(::ftruncate(file.get(), static_cast<off_t>(bytes_)), "ftruncate", path.native());
  fd_ = attach_loop(file, node_);
}

void LoopDevice::detach() {
  if (fd_.is_open()) ::ioctl(fd_.get(), LOOP_CLR_FD, 0);
  fd_.reset();
}

void LoopDevice::change_medium() {
  const fs::path node = node_;
  detach();
  node_ = node;  // the same numbers, if nobody else was faster
  attach(directory_.path() / "another");
  if (node_ != node) throw Error(EBUSY, "attach again", node.native());
}

fs::path LoopDevice::add_partition(std::uint64_t first_byte, std::uint64_t bytes) {
  blkpg_partition partition{};
  partition.start = static_cast<long long>(first_byte);
  partition.length = static_cast<long long>(bytes);
  partition.pno = 1;
  blkpg_ioctl_arg argument{BLKPG_ADD_PARTITION, 0, sizeof partition, &partition};
  check_syscall(::ioctl(fd_.get(), BLKPG, &argument), "ioctl(BLKPG)", node_.native());
  const fs::path node = node_.string() + "p1";
  for (int attempt = 0; attempt < 100 && !fs::exists(node); ++attempt) std::this_thread::sleep_for(10ms);
  return node;
}

LoopDevice::Second::Second(const LoopDevice& first) {
  fs::path node;
  fd_ = attach_loop(open_or_throw(first.file(), O_RDWR), node);
}

LoopDevice::Second::~Second() { ::ioctl(fd_.get(), LOOP_CLR_FD, 0); }

ZramDevice::ZramDevice(std::uint64_t bytes) {
  std::ifstream("/sys/class/zram-control/hot_add") >> number_;
  node_ = "/dev/zram" + std::to_string(number_);
  write_text("/sys/block/zram" + std::to_string(number_) + "/disksize", std::to_string(bytes));
}

ZramDevice::~ZramDevice() {
  for (int attempt = 0; attempt < 50; ++attempt) {  // udev or a late close may still have it open
    try {
      write_text("/sys/class/zram-control/hot_remove", std::to_string(number_));
      return;
    } catch (const Error&) {
      std::this_thread::sleep_for(20ms);
    }
  }
  log(LogLevel::warn, "event=remove device=" + node_.string() + " failure=busy");
}

DirectWriter::DirectWriter(const fs::path& node)
    : fd_(open_or_throw(node, O_RDWR | O_DIRECT)), buffer_(aligned_buffer(kBufferBytes)) {}

DirectWriter::~DirectWriter() { std::free(buffer_); }

void DirectWriter::write(Extent extent) {
  const std::uint64_t blocks_max = kBufferBytes / kBlockBytes;
  for (BlockIndex at = extent.first; at < extent.end(); at.value += blocks_max) {
    const Extent piece{at, std::min(extent.end().value - at.value, blocks_max)};
    auto* words = static_cast<std::uint64_t*>(buffer_);
    for (std::uint64_t i = 0; i < piece.bytes() / 8; ++i) words[i] = at.value * 1000003 + i * 7919 + seed_;
    ++seed_;
    const auto offset = static_cast<off_t>(at.value * kBlockBytes);
    check_syscall(::pwrite(fd_.get(), buffer_, piece.bytes(), offset), "pwrite");
  }
}

void DirectWriter::discard(Extent extent) { ioctl_range(BLKDISCARD, "ioctl(BLKDISCARD)", extent); }
void DirectWriter::write_zeroes(Extent extent) { ioctl_range(BLKZEROOUT, "ioctl(BLKZEROOUT)", extent); }

void DirectWriter::ioctl_range(unsigned long request, const char* name, Extent extent) {
  std::uint64_t range[2] = {extent.first.value * kBlockBytes, extent.bytes()};
  check_syscall(::ioctl(fd_.get(), request, range), name);
}

void DirectWriter::read(Extent extent, std::span<std::byte> into) {
  const std::uint64_t blocks_max = kBufferBytes / kBlockBytes;
  for (BlockIndex at = extent.first; at < extent.end(); at.value += blocks_max) {
    const Extent piece{at, std::min(extent.end().value - at.value, blocks_max)};
    check_syscall(::pread(fd_.get(), buffer_, piece.bytes(), static_cast<off_t>(at.value * kBlockBytes)), "pread");
    std::memcpy(into.data() + (at.value - extent.first.value) * kBlockBytes, buffer_, piece.bytes());
  }
}

std::unique_ptr<Volume> open_scratch_volume(const ScratchDevice& device, const fs::path& mount_point) {
  return std::make_unique<ScratchVolume>(device, mount_point);
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/loop_device.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace vmigrate {
namespace {

constexpr unsigned kLoopMajor = 7;
constexpr int kAttachAttemptsMax = 64;  // others look for a free device at the same time

/// The kernel's encoding of device numbers towards user space (new_encode_dev), which is not that of dev_t.
dev_t decode_device(std::uint64_t encoded) {
  const auto value = static_cast<unsigned>(encoded);
  return makedev((value & 0xfff00) >> 8, (value & 0xff) | ((value >> 12) & 0xfff00));
}

UniqueFd open_node(const std::filesystem::path& path, int number) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (fd.is_open() || errno != ENOENT) return fd;
  // Without devtmpfs nobody else makes the node.
  if (::mknod(path.c_str(), S_IFBLK | 0600, makedev(kLoopMajor, static_cast<unsigned>(number))) < 0 && errno != EEXIST)
    throw Error(errno, "mknod", path.string());
  fd.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  return fd;
}

loop_config config_for(int image_fd, const std::filesystem::path& image) {
  loop_config config{};
  config.fd = static_cast<std::uint32_t>(image_fd);
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  const auto name = image.string();
  std::memcpy(config.info.lo_file_name, name.data(), std::min<std::size_t>(name.size(), LO_NAME_SIZE - 1));
  return config;
}

}  // namespace

bool is_loop_device(dev_t device) { return major(device) == kLoopMajor; }

std::optional<LoopStatus> loop_status(int device_fd, const std::filesystem::path& device) {
  loop_info64 info{};
  const auto result = ::ioctl(device_fd, LOOP_GET_STATUS64, &info);
  if (result < 0 && errno == ENXIO) return std::nullopt;
  check_syscall(result, "ioctl(LOOP_GET_STATUS64)", device.string());
  return LoopStatus{decode_device(info.lo_device), static_cast<ino_t>(info.lo_inode), info.lo_offset,
                    (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0};
}

bool is_backed_by(const LoopStatus& status, int file_fd) {
  struct stat file {};
  check_syscall(::fstat(file_fd, &file), "fstat");
  return file.st_ino == status.file_inode && file.st_dev == status.file_device;
}

LoopDevice attach_loop(const std::filesystem::path& image) {
  const UniqueFd file(check_syscall(::open(image.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW), "open", image.string()));
  const UniqueFd control(check_syscall(::open("/dev/loop-control", O_RDWR | O_CLOEXEC), "open", "/dev/loop-control"));
  const auto config = config_for(file.get(), image);
  for (int attempt = 0; attempt < kAttachAttemptsMax; ++attempt) {
    const int number = check_syscall(::ioctl(control.get(), LOOP_CTL_GET_FREE), "ioctl(LOOP_CTL_GET_FREE)");
    const std::filesystem::path path = "/dev/loop" + std::to_string(number);
    auto device = open_node(path, number);
    check_syscall(device.get(), "open", path.string());
    if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) return {path, std::move(device)};
    if (errno != EBUSY) throw Error(errno, "ioctl(LOOP_CONFIGURE)", path.string());
  }
  throw Error(Errc::busy, "no free loop device for " + image.string());
}

bool detach_loop(const std::filesystem::path& device, const std::filesystem::path& image) {
  const UniqueFd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd file(::open(image.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open() || !file.is_open()) return true;
  const auto status = loop_status(fd.get(), device);
  if (!status || !is_backed_by(*status, file.get())) return true;
  return ::ioctl(fd.get(), LOOP_CLR_FD) == 0 || errno != EBUSY;
}

}  // namespace vmigrate

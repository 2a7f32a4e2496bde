// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/mounted_device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <limits>

#include "base/error.h"
#include "base/log.h"
#include "base/text_file.h"
#include "base/unique_fd.h"
#include "engine/mount_info.h"

namespace vmigrate {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& rootfs, const std::string& why) {
  throw Error(Errc::rootfs_not_on_device,
              "the root file system " + rootfs.string() + " " + why +
                  "; put it into an image of its own with: vmigrate image create --from " + rootfs.string() +
                  " --size SIZE IMAGE, and mount that there");
}

std::filesystem::path sysfs_of(const Mount& mount) {
  return "/sys/dev/block/" + std::to_string(mount.major) + ":" + std::to_string(mount.minor);
}

std::filesystem::path device_node_of(const Mount& mount) {
  constexpr std::string_view kKey = "DEVNAME=";
  const auto uevent = "\n" + read_text(sysfs_of(mount) / "uevent").value_or("");
  const auto at = uevent.find("\n" + std::string(kKey));
  if (at == std::string::npos) return {};
  const auto begin = at + 1 + kKey.size();
  return std::filesystem::path("/dev") / uevent.substr(begin, uevent.find('\n', begin) - begin);
}

std::filesystem::path backing_file_of(const Mount& mount) {
  auto path = read_text(sysfs_of(mount) / "loop" / "backing_file").value_or("");
  if (!path.empty() && path.back() == '\n') path.pop_back();
  return path;
}

Mount find_mount(const std::filesystem::path& rootfs) {
  std::error_code failure;
  const auto place = std::filesystem::canonical(rootfs, failure);
  if (failure) throw Error(failure.value(), "realpath", rootfs.string());
  auto mount = topmost_mount_at(read_text("/proc/self/mountinfo").value_or(""), place.string());
  if (!mount) refuse(rootfs, "is a plain directory, not a mount point");
  return *mount;
}

}  // namespace

MountedDevice find_mounted_device(const std::filesystem::path& rootfs) {
  const auto mount = find_mount(rootfs);
  if (mount.major == 0) refuse(rootfs, "is a " + mount.file_system + " mount without a block device of its own");
  if (mount.root != "/") refuse(rootfs, "is only the part " + mount.root + " of a file system");
  const auto device = device_node_of(mount);
  if (device.empty()) refuse(rootfs, "is on a block device that the kernel does not name");
  return {device, mount.mount_point, mount.file_system, backing_file_of(mount)};
}

std::uint64_t trim(const MountedDevice& device) {
  const auto place = device.mount_point.string();
  const UniqueFd root(check_syscall(::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open", place));
  fstrim_range range{};
  range.len = std::numeric_limits<decltype(range.len)>::max();
  const auto result = ::ioctl(root.get(), FITRIM, &range);
  if (result < 0 && (errno == EOPNOTSUPP || errno == ENOTTY || errno == EROFS)) return 0;
  check_syscall(result, "ioctl(FITRIM)", place);
  return range.len;
}

void thaw_file_system(const MountedDevice& device) noexcept {
  struct stat node {};
  struct stat root {};
  if (::stat(device.device.c_str(), &node) != 0 || ::stat(device.mount_point.c_str(), &root) != 0) return;
  if (node.st_rdev != root.st_dev) return;
  const UniqueFd directory(::open(device.mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.is_open() && ::ioctl(directory.get(), FITHAW, 0) == 0)
    log(LogLevel::warn, "event=file_system_thawed mount_point=" + device.mount_point.native());
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/mounted_image.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <exception>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "engine/loop_device.h"

namespace vmigrate {
namespace {

constexpr auto kBusyTimeout = std::chrono::seconds(5);  // a dying container's mount namespace goes away a little later
constexpr auto kBusyPause = std::chrono::milliseconds(20);

/// Calls `attempt` until it says true; false when the time is up.
template <typename Attempt>
bool retry_while_busy(Attempt attempt) {
  const auto deadline = std::chrono::steady_clock::now() + kBusyTimeout;
  while (!attempt()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kBusyPause);
  }
  return true;
}

bool is_mounted(const MountedDevice& device) {
  struct stat node {};
  struct stat root {};
  if (::stat(device.device.c_str(), &node) < 0 || ::stat(device.mount_point.c_str(), &root) < 0) return false;
  return S_ISBLK(node.st_mode) && root.st_dev == node.st_rdev;
}

bool try_unmount(const MountedDevice& device) {
  if (::umount2(device.mount_point.c_str(), UMOUNT_NOFOLLOW) == 0 || !is_mounted(device)) return true;
  if (errno != EBUSY) throw Error(errno, "umount", device.mount_point.string());
  return false;
}

}  // namespace

MountedImage MountedImage::attach(const std::filesystem::path& image, const std::filesystem::path& mount_point,
                                  const std::string& file_system) {
  // Until it is mounted the descriptor is the only user, so a failure below detaches by closing it.
  const auto loop = attach_loop(image);
  check_syscall(::mount(loop.path.c_str(), mount_point.c_str(), file_system.c_str(), 0, nullptr), "mount",
                mount_point.string());
  return MountedImage({loop.path, mount_point, file_system, image});
}

MountedImage::MountedImage(MountedImage&& other) noexcept : mounted_(std::move(other.mounted_)) { other.keep(); }

MountedImage::~MountedImage() {
  if (mounted_.mount_point.empty()) return;
  try {
    unmount_image(mounted_);
  } catch (const std::exception& failure) {
    log(LogLevel::warn, std::string("event=unmount_failed reason=") + failure.what());
  }
}

void unmount_image(const MountedDevice& device) {
  const auto place = device.mount_point.string();
  if (is_mounted(device) && !retry_while_busy([&] { return try_unmount(device); }))
    throw Error(Errc::busy, place + " is still in use and was not unmounted");
  if (device.image.empty()) return;
  if (!retry_while_busy([&] { return detach_loop(device.device, device.image); }))
    throw Error(Errc::busy,
                device.device.string() + " is still in use and was not detached from " + device.image.string());
}

}  // namespace vmigrate

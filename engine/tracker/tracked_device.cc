// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/tracker/tracked_device.h"

#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <vector>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/error.h"
#include "base/unique_fd.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;

/// The whole of a small file without its line end; nothing if it is not there.
std::optional<std::string> read_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<std::vector<std::uint64_t>> read_numbers(const fs::path& path) {
  const auto line = read_line(path);
  if (!line) return std::nullopt;
  std::istringstream fields(*line);
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t number = 0; fields >> number;) numbers.push_back(number);
  return numbers;
}

std::uint64_t number_or(const fs::path& path, std::uint64_t otherwise) {
  const auto numbers = read_numbers(path);
  return numbers && !numbers->empty() ? numbers->front() : otherwise;
}

std::string name_of_numbers(unsigned major_number, unsigned minor_number) {
  return std::to_string(major_number) + ":" + std::to_string(minor_number);
}

/// The file behind a loop device; nothing for other devices and for a loop device without a file.
std::optional<loop_info64> loop_info(const fs::path& node) {
  const UniqueFd fd(::open(node.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  loop_info64 info{};
  if (!fd.is_open() || ::ioctl(fd.get(), LOOP_GET_STATUS64, &info) != 0) return std::nullopt;
  return info;
}

bool is_swap(dev_t device) {
  std::ifstream swaps("/proc/swaps");
  std::string line;
  while (std::getline(swaps, line)) {
    struct stat status{};
    const std::string path = line.substr(0, line.find_first_of(" \t"));
    if (::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode) && status.st_rdev == device) return true;
  }
  return false;
}

/// The options of the file system mounted from a device, "rw,logdev=/dev/…"; empty if it is not mounted.
std::string mount_options(const std::string& numbers) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line)) {
    std::istringstream fields(line);
    std::string id, parent, device;
    fields >> id >> parent >> device;
    if (device == numbers) return line.substr(line.rfind(' ') + 1);
  }
  return {};
}

bool is_part_of_larger_btrfs(const std::string& disk_name) {
  std::error_code ignored;
  for (const auto& file_system : fs::directory_iterator("/sys/fs/btrfs", ignored)) {
    const fs::path devices = file_system.path() / "devices";
    if (!fs::exists(devices / disk_name, ignored)) continue;
    return std::distance(fs::directory_iterator(devices, ignored), fs::directory_iterator()) > 1;
  }
  return false;
}

/// The name of another writable loop device with the same file behind it.
std::optional<std::string> second_loop_of(const fs::path& node, const fs::path& own_sysfs) {
  const auto own = loop_info(node);
  if (!own) return std::nullopt;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/sys/block", ignored)) {
    const std::string name = entry.path().filename();
    if (name.rfind("loop", 0) != 0 || name == own_sysfs.filename() || !fs::exists(entry.path() / "loop", ignored))
      continue;
    const auto other = loop_info("/dev/" + name);
    const bool same_file = other && other->lo_device == own->lo_device && other->lo_inode == own->lo_inode;
    if (same_file && !(other->lo_flags & LO_FLAGS_READ_ONLY)) return name;
  }
  return std::nullopt;
}

}  // namespace

TrackedDevice::TrackedDevice(const fs::path& node) : node_(node) {
  struct stat status{};
  check_syscall(::stat(node.c_str(), &status), "stat", node.native());
  if (!S_ISBLK(status.st_mode)) throw Error(ENOTBLK, "track", node.native());
  major_ = major(status.st_rdev);
  minor_ = minor(status.st_rdev);
  sysfs_ = fs::canonical("/sys/dev/block/" + name_of_numbers(major_, minor_));
  disk_ = fs::exists(sysfs_ / "partition") ? sysfs_.parent_path() : sysfs_;
  const std::string disk_numbers = read_line(disk_ / "dev").value_or("");
  if (std::sscanf(disk_numbers.c_str(), "%u:%u", &disk_major_, &disk_minor_) != 2)
    throw Error(ENODEV, "read", (disk_ / "dev").native());
  start_ = number_or(sysfs_ / "start", 0);
  identity_ = identity_now();
  if (identity_.sectors == 0) throw Error(ENOMEDIUM, "track", node.native());
}

fs::path TrackedDevice::disk_node() const { return disk_ == sysfs_ ? node_ : fs::path("/dev") / disk_.filename(); }

bool TrackedDevice::is_bio_based() const { return !fs::exists(disk_ / "mq"); }

bool TrackedDevice::may_end_in_hard_interrupt() const {
  if (!fs::exists(disk_ / "loop") || fs::exists(disk_ / "mq" / "1")) return true;
  const auto processors = read_line(disk_ / "mq" / "0" / "cpu_list");   // "0, 1, 2"
  return !processors || processors->find(',') == std::string::npos;
}

DeviceIdentity TrackedDevice::identity_now() const {
  DeviceIdentity identity;
  identity.diskseq = number_or(disk_ / "diskseq", 0);
  identity.sectors = number_or(sysfs_ / "size", 0);
  if (!fs::exists(disk_ / "loop")) return identity;
  if (const auto loop = loop_info(disk_node())) {
    identity.backing_device = loop->lo_device;
    identity.backing_inode = loop->lo_inode;
  }
  return identity;
}

std::optional<std::uint64_t> TrackedDevice::sectors_written() const {
  if (number_or(disk_ / "queue" / "iostats", 0) == 0) return std::nullopt;
  const auto fields = read_numbers(sysfs_ / "stat");  // Documentation/block/stat.rst
  constexpr std::size_t kSectorsWritten = 6, kSectorsDiscarded = 13;
  if (!fields || fields->size() <= kSectorsDiscarded) return std::nullopt;
  return (*fields)[kSectorsWritten] + (*fields)[kSectorsDiscarded];
}

std::uint64_t TrackedDevice::writes_in_flight() const {
  const auto reads_and_writes = read_numbers(sysfs_ / "inflight");
  if (!reads_and_writes || reads_and_writes->size() != 2) throw Error(ENODEV, "read", (sysfs_ / "inflight").native());
  return (*reads_and_writes)[1];
}

std::optional<std::string> TrackedDevice::reason_not_to_track() const {
  std::error_code ignored;
  if (number_or(disk_ / "queue" / "dax", 0) != 0)
    return "it is byte-addressable (DAX): stores to it are not block writes";
  if (read_line(disk_ / "queue" / "zoned").value_or("none") != "none") return "it is zoned";
  if (is_swap(makedev(major_, minor_))) return "it is swap space";
  const fs::path holders = sysfs_ / "holders";
  if (fs::exists(holders, ignored) && !fs::is_empty(holders, ignored))
    return "it is part of " + fs::directory_iterator(holders)->path().filename().string() +
           ", which has to be tracked instead";
  if (fs::read_symlink(disk_ / "device", ignored).filename().string().rfind("nvme-subsys", 0) == 0)
    return "it is an NVMe multipath device";
  if (is_part_of_larger_btrfs(sysfs_.filename())) return "its btrfs file system spans several devices";
  const std::string options = mount_options(name_of_numbers(major_, minor_));
  for (const char* elsewhere : {"logdev=", "rtdev=", "journal_dev=", "journal_path="})
    if (options.find(elsewhere) != std::string::npos)
      return "its file system keeps a part on another device (" + options + ")";
  if (const auto other = second_loop_of(disk_node(), disk_)) return *other + " writes to the same file";
  return std::nullopt;
}

}  // namespace vmigrate

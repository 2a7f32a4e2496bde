// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/tracker/pin_directory.h"

#include <fstream>
#include <mutex>

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "base/log.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;

bool is_bpffs(const fs::path& path) {
  struct statfs status{};
  return ::statfs(path.c_str(), &status) == 0 && status.f_type == BPF_FS_MAGIC;
}

bool mount_bpffs(const fs::path& path) {
  return is_bpffs(path) || (::mount("bpf", path.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0);
}

std::string boot_prefix() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id.substr(0, 8);
}

/// What names the place on the disk, whatever medium is in it: "-7-3-0".
std::string place_of(const TrackedDevice& device) {
  return "-" + std::to_string(device.disk_major()) + "-" + std::to_string(device.disk_minor()) + "-" +
         std::to_string(device.start());
}

fs::path path_for(const fs::path& bpffs, const TrackedDevice& device) {
  return bpffs / "vmigrate" / (boot_prefix() + "-" + std::to_string(device.identity().diskseq) + place_of(device));
}

/// An open, locked directory; not open when there is none or somebody else holds it.
UniqueFd lock_directory(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.is_open() && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) fd.reset();
  return fd;
}

void remove_pins(const fs::path& path) noexcept {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) log(LogLevel::warn, "event=unpin path=" + path.string() + " failure=\"" + failure.message() + "\"");
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void remove_leftovers(const fs::path& parent, const TrackedDevice& device) {
  std::error_code ignored;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(parent, ignored))
    if (ends_with(entry.path().filename(), place_of(device))) found.push_back(entry.path());
  for (const auto& path : found)
    if (const auto lock = lock_directory(path); lock.is_open()) remove_pins(path);
}

}  // namespace

std::optional<PinDirectory> PinDirectory::create(const fs::path& bpffs, const TrackedDevice& device) {
  static std::mutex one_at_a_time;   // who mounts, and who removes what the other has just made
  const std::lock_guard lock_of_process(one_at_a_time);
  const fs::path path = path_for(bpffs, device);
  if (!mount_bpffs(bpffs)) {
    log(LogLevel::warn,
        "event=pin path=" + bpffs.string() + " failure=\"no bpffs: tracking will end with this process\"");
    return std::nullopt;
  }
  ::mkdir(path.parent_path().c_str(), 0700);
  remove_leftovers(path.parent_path(), device);
  if (::mkdir(path.c_str(), 0700) == 0)
    if (auto lock = lock_directory(path); lock.is_open()) return PinDirectory(path, std::move(lock));
  log(LogLevel::warn, "event=pin path=" + path.string() + " failure=\"in use: tracking will end with this process\"");
  return std::nullopt;
}

PinDirectory PinDirectory::take_over(const fs::path& bpffs, const TrackedDevice& device) {
  const fs::path path = path_for(bpffs, device);
  auto lock = lock_directory(path);
  if (!lock.is_open())
    throw Error(Errc::tracking_lost,
                "no abandoned write tracker for " + device.node().string() + " in " + path.string());
  return PinDirectory(path, std::move(lock));
}

PinDirectory::~PinDirectory() {
  if (lock_.is_open()) remove_pins(path_);
}

void PinDirectory::pin(int fd, const std::string& name) const {
  check_syscall(::bpf_obj_pin(fd, (path_ / name).c_str()), "pin", (path_ / name).native());
}

UniqueFd PinDirectory::get(const std::string& name) const {
  return UniqueFd(check_syscall(::bpf_obj_get((path_ / name).c_str()), "open", (path_ / name).native()));
}

std::vector<std::string> PinDirectory::names() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path_)) names.push_back(entry.path().filename());
  return names;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/disk.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/durable.h"
#include "base/error.h"
#include "base/unique_fd.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;

class RealFile final : public DiskFile {
 public:
  RealFile(int fd, fs::path path) : fd_(fd), path_(std::move(path)) {}
  RealFile(const RealFile&) = delete;
  /// Closing is not enough: a child that was forked meanwhile has the file, and with it the lock, until its exec.
  ~RealFile() override { ::flock(fd_.get(), LOCK_UN); }

  bool lock() override { return ::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0; }
  bool is_at(const fs::path& path) const override {
    struct stat opened {};
    struct stat named {};
    return ::fstat(fd_.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
  }
  std::size_t read(std::uint64_t offset, std::span<std::byte> into) const override {
    std::size_t done = 0;
    while (done < into.size()) {
      const auto at = static_cast<off_t>(offset + done);
      const auto got = check_syscall(::pread(fd_.get(), into.data() + done, into.size() - done, at), "read",
                                     path_.native());
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }
  void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    const auto written = check_syscall(::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
                                       "write", path_.native());
    if (static_cast<std::size_t>(written) != bytes.size()) throw Error(EIO, "write", path_.native());
  }
  void sync() override { check_syscall(::fdatasync(fd_.get()), "fdatasync", path_.native()); }

 private:
  UniqueFd fd_;
  fs::path path_;
};

class RealDisk final : public Disk {
 public:
  std::unique_ptr<DiskFile> open(const fs::path& path) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) return nullptr;
    return std::make_unique<RealFile>(check_syscall(fd, "open", path.native()), path);
  }
  std::unique_ptr<DiskFile> create(const fs::path& path) override {
    fs::create_directories(path.parent_path());
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return std::make_unique<RealFile>(check_syscall(fd, "create", path.native()), path);
  }
  std::unique_ptr<DiskFile> create_unique(fs::path& path) override {
    fs::create_directories(path.parent_path());
    std::string name = path.native() + ".XXXXXX";
    const int fd = check_syscall(::mkostemp(name.data(), O_CLOEXEC), "mkostemp", name);
    path = name;
    return std::make_unique<RealFile>(fd, path);
  }
  bool link(const fs::path& from, const fs::path& to) override {
    const int result = ::link(from.c_str(), to.c_str());
    if (result != 0 && errno == EEXIST) return false;
    check_syscall(result, "link", to.native());
    return true;
  }
  void rename(const fs::path& from, const fs::path& to) override {
    check_syscall(::rename(from.c_str(), to.c_str()), "rename", to.native());
  }
  bool remove(const fs::path& path) override {
    const int result = ::unlink(path.c_str());
    if (result != 0 && errno == ENOENT) return false;
    check_syscall(result, "unlink", path.native());
    return true;
  }
  void sync_names(const fs::path& directory) override { sync_to_disk(directory); }
  std::vector<std::string> list(const fs::path& directory) override {
    std::vector<std::string> names;
    std::error_code failure;
    fs::directory_iterator entry(directory, failure);
    for (; !failure && entry != fs::directory_iterator(); entry.increment(failure))
      names.push_back(entry->path().filename());
    if (failure && failure != std::errc::no_such_file_or_directory)
      throw Error(failure.value(), "list", directory.native());
    std::sort(names.begin(), names.end());
    return names;
  }
};

void give_name(Disk& disk, const fs::path& temporary, const fs::path& path, Naming naming) {
  if (naming == Naming::replaces) {
    disk.rename(temporary, path);
    return;
  }
  disk.link(temporary, path);
  disk.remove(temporary);
}

}  // namespace

Disk& real_disk() noexcept {
  static RealDisk disk;
  return disk;
}

fs::path unfinished(const fs::path& path) { return path.parent_path() / ("." + path.filename().native()); }

bool is_unfinished(const std::string& name) { return name.starts_with('.'); }

void create_file(Disk& disk, const fs::path& path, std::span<const std::byte> content, Naming naming) {
  fs::path temporary = unfinished(path);
  const auto file = disk.create_unique(temporary);
  file->lock();
  try {
    file->write(0, content);
    file->sync();
    give_name(disk, temporary, path, naming);
  } catch (const Error&) {
    disk.remove(temporary);
    throw;
  }
  disk.sync_names(path.parent_path());
}

void remove_unfinished(Disk& disk, const fs::path& directory) {
  for (const std::string& name : disk.list(directory)) {
    if (!is_unfinished(name)) continue;
    const auto file = disk.open(directory / name);
    if (file && file->lock()) disk.remove(directory / name);
  }
}

}  // namespace vmigrate

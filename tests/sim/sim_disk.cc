// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/sim/sim_disk.h"

#include <algorithm>
#include <cerrno>

#include "base/assert.h"
#include "base/error.h"

namespace vmigrate::sim {
namespace {

namespace fs = std::filesystem;

bool is_in(const std::string& path, const std::string& directory) {
  return path.size() > directory.size() + 1 && path.starts_with(directory) && path[directory.size()] == '/';
}

/// Bytes that nobody can change.
class ReadOnlyFile final : public DiskFile {
 public:
  explicit ReadOnlyFile(std::vector<std::byte> content) : content_(std::move(content)) {}
  bool lock() override { return true; }
  bool is_at(const fs::path&) const override { return true; }
  std::size_t read(std::uint64_t offset, std::span<std::byte> into) const override {
    if (offset >= content_.size()) return 0;
    const std::size_t length = std::min<std::size_t>(into.size(), content_.size() - offset);
    std::copy_n(content_.begin() + static_cast<std::ptrdiff_t>(offset), length, into.begin());
    return length;
  }
  void write(std::uint64_t, std::span<const std::byte>) override {}
  void sync() override {}

 private:
  std::vector<std::byte> content_;
};

class ReadOnlyDisk final : public Disk {
 public:
  explicit ReadOnlyDisk(std::map<std::string, std::vector<std::byte>> files) : files_(std::move(files)) {}
  std::unique_ptr<DiskFile> open(const fs::path& path) override {
    const auto file = files_.find(path.native());
    if (file == files_.end()) return nullptr;
    return std::make_unique<ReadOnlyFile>(file->second);
  }
  std::unique_ptr<DiskFile> create(const fs::path& path) override { throw Error(EROFS, "create", path.native()); }
  std::unique_ptr<DiskFile> create_unique(fs::path& path) override { throw Error(EROFS, "create", path.native()); }
  bool link(const fs::path&, const fs::path&) override { return false; }
  void rename(const fs::path& from, const fs::path&) override { throw Error(EROFS, "rename", from.native()); }
  bool remove(const fs::path&) override { return false; }
  void sync_names(const fs::path&) override {}
  std::vector<std::string> list(const fs::path&) override { return {}; }

 private:
  std::map<std::string, std::vector<std::byte>> files_;
};

}  // namespace

/// One open file of a process.
class SimFile final : public DiskFile {
 public:
  SimFile(const ProcessDisk& disk, std::shared_ptr<SimDisk::Inode> inode, fs::path path)
      : disk_(disk), inode_(std::move(inode)), path_(std::move(path)) {}
  SimFile(const SimFile&) = delete;
  ~SimFile() override {
    if (inode_->lock_file == this) inode_->locker = inode_->lock_file = nullptr;
  }

  bool lock() override {
    disk_.reach(path_, "lock");
    if (inode_->locker != nullptr && inode_->lock_file != this) return false;
    inode_->locker = disk_.process_;
    inode_->lock_file = this;
    return true;
  }
  bool is_at(const fs::path& path) const override {
    const auto name = disk_.disk_.names_.find(path.native());
    return name != disk_.disk_.names_.end() && name->second == inode_;
  }
  std::size_t read(std::uint64_t offset, std::span<std::byte> into) const override {
    disk_.reach(path_, "read");
    const auto& content = inode_->content;
    if (offset >= content.size()) return 0;
    const std::size_t length = std::min<std::size_t>(into.size(), content.size() - offset);
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset), length, into.begin());
    return length;
  }
  void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    disk_.reach(path_, "write");
    auto& content = inode_->content;
    if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
    const auto begin = content.begin() + static_cast<std::ptrdiff_t>(offset);
    SimDisk::Write write{offset, bytes.size(), {begin, begin + static_cast<std::ptrdiff_t>(bytes.size())}};
    // Written again after a failed fsync: then the pages are dirty again, and the next fsync counts.
    auto& unsynced = inode_->unsynced;
    for (auto one = unsynced.end(); one != unsynced.begin();) {
      --one;
      const bool is_covered = one->offset >= offset && one->offset + one->length <= offset + bytes.size();
      if (!one->is_doomed || !is_covered) continue;
      std::copy(one->before.begin(), one->before.end(),
                write.before.begin() + static_cast<std::ptrdiff_t>(one->offset - offset));
      one = unsynced.erase(one);
    }
    unsynced.push_back(std::move(write));
    std::copy(bytes.begin(), bytes.end(), begin);
  }
  void sync() override {
    disk_.reach(path_, "sync");
    std::erase_if(inode_->unsynced, [](const SimDisk::Write& write) { return !write.is_doomed; });
  }

 private:
  const ProcessDisk& disk_;
  std::shared_ptr<SimDisk::Inode> inode_;
  fs::path path_;
};

// --- the host's side ----------------------------------------------------------------------------------------------

/// Takes a write back, all but its first bytes.
void SimDisk::undo(Inode& inode, const Write& write, std::uint64_t bytes_kept) {
  for (std::uint64_t at = bytes_kept; at < write.length; ++at) inode.content[write.offset + at] = write.before[at];
}

void SimDisk::lose_power(Random& random) {
  ++version_;
  if (random.chance(50)) names_ = durable_names_;
  else durable_names_ = names_;
  for (auto& [path, inode] : names_) {
    inode->locker = inode->lock_file = nullptr;
    while (!inode->unsynced.empty()) {
      const Write& write = inode->unsynced.back();
      const std::uint64_t fate = random.below(3);   // kept, lost, torn
      if (fate == 1) undo(*inode, write, 0);
      if (fate == 2) undo(*inode, write, 1 + random.below(write.length));
      inode->unsynced.pop_back();
    }
  }
}

void SimDisk::doom_unsynced() {
  for (auto& [path, inode] : names_)
    for (Write& write : inode->unsynced) write.is_doomed = true;
}

void SimDisk::release_locks_of(const void* holder) {
  for (auto& [path, inode] : names_)
    if (inode->locker == holder) inode->locker = inode->lock_file = nullptr;
}

bool SimDisk::has_locks() const {
  return std::any_of(names_.begin(), names_.end(), [](const auto& name) { return name.second->locker != nullptr; });
}

std::size_t SimDisk::file_count(const std::string& directory) const {
  return static_cast<std::size_t>(
      std::count_if(names_.begin(), names_.end(), [&](const auto& name) {
        return is_in(name.first, directory) && !is_unfinished(name.first.substr(directory.size() + 1));
      }));
}

std::unique_ptr<Disk> SimDisk::certain() const {
  std::map<std::string, Bytes> files;
  for (const auto& [path, inode] : durable_names_) {
    Inode copy;
    copy.content = inode->content;
    for (auto write = inode->unsynced.rbegin(); write != inode->unsynced.rend(); ++write) undo(copy, *write, 0);
    files.emplace(path, std::move(copy.content));
  }
  return std::make_unique<ReadOnlyDisk>(std::move(files));
}

// --- a process's side ---------------------------------------------------------------------------------------------

void ProcessDisk::reach(const fs::path& path, const char* operation) const {
  point_(path, operation);
  ++disk_.version_;
}

std::unique_ptr<DiskFile> ProcessDisk::open(const fs::path& path) {
  reach(path, "open");
  const auto name = disk_.names_.find(path.native());
  if (name == disk_.names_.end()) return nullptr;
  return std::make_unique<SimFile>(*this, name->second, path);
}

std::unique_ptr<DiskFile> ProcessDisk::create(const fs::path& path) {
  reach(path, "create");
  auto inode = std::make_shared<SimDisk::Inode>();
  disk_.names_[path.native()] = inode;
  return std::make_unique<SimFile>(*this, std::move(inode), path);
}

std::unique_ptr<DiskFile> ProcessDisk::create_unique(fs::path& path) {
  path = path.native() + "." + std::to_string(++disk_.unique_);
  return create(path);
}

bool ProcessDisk::link(const fs::path& from, const fs::path& to) {
  reach(to, "link");
  return disk_.names_.emplace(to.native(), disk_.names_.at(from.native())).second;
}

void ProcessDisk::rename(const fs::path& from, const fs::path& to) {
  reach(to, "rename");
  disk_.names_[to.native()] = disk_.names_.at(from.native());
  disk_.names_.erase(from.native());
}

bool ProcessDisk::remove(const fs::path& path) {
  reach(path, "remove");
  return disk_.names_.erase(path.native()) > 0;
}

void ProcessDisk::sync_names(const fs::path& directory) {
  reach(directory, "sync_names");
  std::erase_if(disk_.durable_names_, [&](const auto& name) { return is_in(name.first, directory.native()); });
  for (const auto& [path, inode] : disk_.names_)
    if (is_in(path, directory.native())) disk_.durable_names_.emplace(path, inode);
}

std::vector<std::string> ProcessDisk::list(const fs::path& directory) {
  reach(directory, "list");
  std::vector<std::string> names;
  for (const auto& [path, inode] : disk_.names_)
    if (is_in(path, directory.native())) names.push_back(path.substr(directory.native().size() + 1));
  return names;
}

}  // namespace vmigrate::sim

// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/image_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include <xxhash.h>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/mounts.h"

namespace vmigrate {
namespace {

constexpr std::size_t kNameBytesMax = 255;
constexpr std::size_t kDigestBufferBytes = 1 << 20;
constexpr std::uint64_t kLogRoomBytes = 16 << 20;  // what CRIU writes beside the images: its log and statistics
constexpr std::string_view kFirstCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// CRIU's account of its own run. Reading it is of use on the host it was written on only.
bool is_report(std::string_view name) { return name.ends_with(".log") || name.starts_with("stats-"); }

bool is_image_name(std::string_view name) {
  if (name.empty() || name.size() > kNameBytesMax || is_report(name)) return false;
  const auto is_first = [](char c) { return kFirstCharacters.find(c) != std::string_view::npos; };
  return is_first(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_first(c) || c == '.' || c == '_' || c == '-'; });
}

void check_name(const std::string& name) {
  if (!is_image_name(name)) throw Error(Errc::protocol_violation, "a checkpoint file has a name that is not allowed");
}

/// -1 with errno on failure. Never leaves the directory, never follows a link.
int open_beneath(int directory, const std::string& name, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  how.mode = (flags & O_CREAT) != 0 ? 0600 : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how));
}

UniqueFd open_file(int directory, const std::string& name, int flags) {
  return UniqueFd(check_syscall(open_beneath(directory, name, flags), "open", name));
}

std::uint64_t bytes_of(int fd, const std::string& name) {
  struct stat status{};
  check_syscall(::fstat(fd, &status), "fstat", name);
  return static_cast<std::uint64_t>(status.st_size);
}

/// The names of regular files that are part of the image, sorted.
std::vector<std::string> image_names(int directory) {
  const int copy =
      check_syscall(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open", "checkpoint directory");
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(copy), ::closedir);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(entries.get()))
    if (entry->d_type == DT_REG && is_image_name(entry->d_name)) names.emplace_back(entry->d_name);
  std::sort(names.begin(), names.end());
  return names;
}

ImageFile digest_file(int directory, const std::string& name) {
  const UniqueFd fd = open_file(directory, name, O_RDONLY);
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_128bits_reset(state.get());
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kDigestBufferBytes);
  ImageFile file{.name = name};
  for (;;) {
    const int count = check_syscall(::read(fd.get(), buffer.get(), kDigestBufferBytes), "read", name);
    if (count == 0) break;
    XXH3_128bits_update(state.get(), buffer.get(), static_cast<std::size_t>(count));
    file.bytes += static_cast<std::uint64_t>(count);
  }
  const XXH128_hash_t digest = XXH3_128bits_digest(state.get());
  file.digest = {.low = digest.low64, .high = digest.high64};
  return file;
}

void mount_tmpfs(const std::string& path, std::uint64_t bytes_max) {
  const std::string options = "mode=0700,size=" + std::to_string(bytes_max + kLogRoomBytes);
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  // Memory of the container must not reach a swap device; kernels before 6.4 cannot promise that.
  if (::mount("vmigrate", path.c_str(), "tmpfs", kFlags, (options + ",noswap").c_str()) == 0) return;
  check_syscall(::mount("vmigrate", path.c_str(), "tmpfs", kFlags, options.c_str()), "mount tmpfs on", path);
}

}  // namespace

ImageDir ImageDir::create(const std::filesystem::path& parent, const std::string& name, std::uint64_t bytes_max) {
  check_name(name);
  const auto path = std::filesystem::canonical(parent) / name;
  check_syscall(::mkdir(path.c_str(), 0700), "mkdir", path.native());
  try {
    mount_tmpfs(path.native(), bytes_max);
    return ImageDir(path, bytes_max, Owner::us);
  } catch (...) {
    ::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    ::rmdir(path.c_str());
    throw;
  }
}

std::optional<ImageDir> ImageDir::take_over(const std::filesystem::path& parent, const std::string& name) {
  check_name(name);
  const auto path = std::filesystem::canonical(parent) / name;
  if (!std::filesystem::is_directory(std::filesystem::symlink_status(path))) return std::nullopt;
  return ImageDir(path, 0, Owner::us);
}

ImageDir ImageDir::adopt(const std::filesystem::path& directory, std::uint64_t bytes_max) {
  return ImageDir(std::filesystem::canonical(directory), bytes_max, Owner::caller);
}

ImageDir::ImageDir(std::filesystem::path path, std::uint64_t bytes_max, Owner owner)
    : path_(std::move(path)),
      owner_(owner),
      bytes_max_(bytes_max),
      directory_(check_syscall(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open", path_.native())) {}

ImageDir::ImageDir(ImageDir&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      owner_(other.owner_),
      bytes_max_(other.bytes_max_),
      written_(std::move(other.written_)),
      bytes_(other.bytes_),
      directory_(std::move(other.directory_)) {}

ImageDir::~ImageDir() {
  if (path_.empty() || owner_ == Owner::caller) return;
  directory_.reset();
  // Unmounting frees the files; walking into what a killed CRIU mounted here would remove live cgroups.
  if (!unmount_all_at_or_beneath(path_) || ::rmdir(path_.c_str()) != 0)
    log(LogLevel::warn, "event=image_dir_left_behind path=" + path_.string());
}

std::map<std::string, std::uint64_t> ImageDir::sizes() const {
  std::map<std::string, std::uint64_t> sizes;
  for (const auto& name : image_names(directory_.get())) {
    const UniqueFd fd = open_file(directory_.get(), name, O_RDONLY);
    sizes[name] = bytes_of(fd.get(), name);
  }
  return sizes;
}

std::vector<ImageFile> ImageDir::list() const {
  const auto names = image_names(directory_.get());
  if (names.size() > kFilesMax)
    throw Error(Errc::checkpoint_failed, "the checkpoint has " + std::to_string(names.size()) + " files, at most " +
                                             std::to_string(kFilesMax) + " can be moved");
  std::vector<ImageFile> files;
  files.reserve(names.size());
  for (const auto& name : names) files.push_back(digest_file(directory_.get(), name));
  return files;
}

std::size_t ImageDir::read(const std::string& name, std::uint64_t offset, std::span<std::byte> into) const {
  check_name(name);
  const UniqueFd fd = open_file(directory_.get(), name, O_RDONLY);
  std::size_t done = 0;
  while (done < into.size()) {
    const auto rest = into.subspan(done);
    const ssize_t count = ::pread(fd.get(), rest.data(), rest.size(), static_cast<off_t>(offset + done));
    if (check_syscall(count, "read", name) == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

std::uint64_t ImageDir::bytes_written(const std::string& name) const {
  const auto known = written_.find(name);
  return known == written_.end() ? 0 : known->second;
}

void ImageDir::check_bounds(const std::string& name, std::uint64_t offset, std::uint64_t length) const {
  if (offset > bytes_max_ || length > bytes_max_ - offset)
    throw Error(Errc::protocol_violation,
                "checkpoint file " + name + " would reach beyond the bound on the checkpoint");
  if (!written_.contains(name) && written_.size() >= kFilesMax)
    throw Error(Errc::protocol_violation, "the checkpoint has too many files");
  const std::uint64_t before = bytes_written(name);
  if (std::max(before, offset + length) - before > bytes_max_ - bytes_)
    throw Error(Errc::protocol_violation, "the checkpoint is larger than " + std::to_string(bytes_max_) + " bytes");
}

void ImageDir::count(const std::string& name, std::uint64_t end) {
  const std::uint64_t before = bytes_written(name);
  const std::uint64_t after = std::max(before, end);
  written_[name] = after;
  bytes_ += after - before;
}

void ImageDir::write(const std::string& name, std::uint64_t offset, std::span<const std::byte> bytes) {
  check_name(name);
  check_bounds(name, offset, bytes.size());
  const UniqueFd fd = open_file(directory_.get(), name, O_WRONLY | O_CREAT);
  count(name, offset + bytes.size());
  std::size_t done = 0;
  while (done < bytes.size()) {
    const auto rest = bytes.subspan(done);
    const ssize_t written = ::pwrite(fd.get(), rest.data(), rest.size(), static_cast<off_t>(offset + done));
    done += static_cast<std::size_t>(check_syscall(written, "write", name));
  }
}

void ImageDir::verify(std::span<const ImageFile> manifest) const {
  const auto found = list();
  const auto differs = [](const std::string& name, const std::string& how) {
    throw Error(Errc::digest_mismatch, "checkpoint file " + name + " " + how);
  };
  for (std::size_t at = 0; at < std::max(found.size(), manifest.size()); ++at) {
    if (at >= manifest.size() || (at < found.size() && found[at].name < manifest[at].name))
      differs(found[at].name, "was sent but is not in the manifest");
    if (at >= found.size() || manifest[at].name < found[at].name) differs(manifest[at].name, "is missing");
    if (found[at] != manifest[at]) differs(found[at].name, "is not what was sent");
  }
}

}  // namespace vmigrate

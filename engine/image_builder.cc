// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/image_builder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "engine/block.h"

namespace vmigrate {
namespace {

constexpr auto kBuildTimeout = std::chrono::hours(4);  // hundreds of gigabytes from a slow disk; only a hang is longer

/// The image while it is being written: removed unless kept.
class NewImage {
 public:
  NewImage(const std::filesystem::path& path, std::uint64_t bytes) : path_(path) {
    const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.is_open() && errno == EEXIST) throw Error(Errc::already_exists, path.string() + " exists already");
    check_syscall(file.get(), "open", path.string());
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0) return;
    const int saved_errno = errno;
    ::unlink(path.c_str());
    throw Error(saved_errno, "ftruncate", path.string());
  }
  NewImage(const NewImage&) = delete;
  NewImage& operator=(const NewImage&) = delete;
  ~NewImage() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  void keep() noexcept { path_.clear(); }

 private:
  std::filesystem::path path_;
};

/// Where a tar archive is unpacked: beside the image, because there is room for as much; and in a directory that nobody
/// else may enter, because there will be set-user-ID programs in it.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::filesystem::path& beside) {
    auto name = (beside.parent_path() / ".vmigrate-image.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw Error(errno, "mkdtemp", name);
    path_ = name;
    std::filesystem::create_directory(root());
    std::filesystem::permissions(root(), std::filesystem::perms{0755});  // unless the archive says otherwise
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code failure;
    std::filesystem::remove_all(path_, failure);
    if (failure) log(LogLevel::warn, "event=cleanup_failed path=" + path_.string() + " reason=" + failure.message());
  }
  std::filesystem::path root() const { return path_ / "root"; }

 private:
  std::filesystem::path path_;
};

void run_builder(std::vector<std::string> argv, const std::string& image, std::string input = {}) {
  Command command;
  command.argv = std::move(argv);
  command.input = std::move(input);
  command.timeout = kBuildTimeout;
  const auto result = run_command(command);
  if (result.exit_status == 0) return;
  const auto& errors = result.errors;
  if (errors.find("Could not allocate") != std::string::npos || errors.find("No space left") != std::string::npos ||
      errors.find("No free space") != std::string::npos)
    throw Error(Errc::no_space, "the content does not fit into " + image + "; give a larger --size");
  throw Error(Errc::usage,
              command.argv[0] + " failed for " + image + ": " + errors.substr(0, errors.find_last_not_of('\n') + 1));
}

/// mkfs.ext4 -d copies everything but the owner and mode of the directory itself.
void copy_root_owner(const std::filesystem::path& directory, const std::string& image) {
  struct stat root {};
  check_syscall(::stat(directory.c_str(), &root), "stat", directory.string());
  std::ostringstream requests;
  requests << "sif / uid " << root.st_uid << "\nsif / gid " << root.st_gid << "\nsif / mode 0" << std::oct
           << root.st_mode << "\n";
  run_builder({"debugfs", "-w", "-f", "/dev/stdin", image}, image, requests.str());
}

void fill_from_directory(const std::filesystem::path& directory, const std::string& image) {
  run_builder({"mkfs.ext4", "-q", "-F", "-b", std::to_string(kBlockBytes), "-d", directory.string(), image}, image);
  copy_root_owner(directory, image);
}

void fill_from_archive(const std::filesystem::path& archive, const std::string& image) {
  const TemporaryDirectory unpacked(image);
  run_builder({"tar", "--extract", "--file", archive.string(), "--directory", unpacked.root().string(),
               "--numeric-owner", "--same-owner", "--same-permissions", "--acls", "--xattrs", "--xattrs-include=*"},
              image);
  fill_from_directory(unpacked.root(), image);
}

}  // namespace

void create_image(const ImageRequest& request) {
  if (request.bytes == 0 || request.bytes % kBlockBytes != 0)
    throw Error(Errc::usage, "the size of an image must be a multiple of " + std::to_string(kBlockBytes) + " bytes");
  const auto from = std::filesystem::absolute(request.from);
  if (!std::filesystem::exists(from)) throw Error(Errc::usage, request.from.string() + " does not exist");
  const auto image = std::filesystem::absolute(request.image);
  NewImage file(image, request.bytes);
  if (std::filesystem::is_directory(from)) {
    fill_from_directory(from, image.string());
  } else {
    fill_from_archive(from, image.string());
  }
  file.keep();
}

}  // namespace vmigrate

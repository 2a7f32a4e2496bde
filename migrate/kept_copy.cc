// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/kept_copy.h"

#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/mounts.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string note_name(const KeptCopy& copy) { return copy.container + "." + to_hex(copy.migration); }

void remove_tree(const fs::path& path) {
  if (path.empty()) return;
  if (is_anything_mounted_at_or_beneath(path))
    throw Error(Errc::busy, "something is mounted at or beneath " + path.native() + "; unmount it first");
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) throw Error(failure.value(), "remove", path.native());
}

/// The kernel tells the name that the file has now.
bool is_on_a_loop_device(const fs::path& image) {
  std::error_code none;
  for (const auto& device : fs::directory_iterator("/sys/block", none)) {
    std::string file;
    if (std::getline(std::ifstream(device.path() / "loop" / "backing_file"), file) && file == image.native())
      return true;
  }
  return false;
}

/// Seconds and nanoseconds of the last write; nothing if it cannot be a base.
std::optional<std::pair<std::int64_t, std::int64_t>> written_at(const fs::path& image, std::uint64_t volume_bytes,
                                                                dev_t device) {
  struct stat status {};
  if (image.empty() || ::lstat(image.c_str(), &status) != 0) return std::nullopt;
  const bool fits = S_ISREG(status.st_mode) && static_cast<std::uint64_t>(status.st_size) == volume_bytes &&
                    status.st_nlink == 1 && status.st_dev == device && allocated_bytes(image) >= kBaseBytesMin;
  if (!fits || is_on_a_loop_device(image)) return std::nullopt;
  return std::pair(status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

}  // namespace

std::uint64_t allocated_bytes(const fs::path& file) {
  constexpr std::uint64_t kStatBlockBytes = 512;
  struct stat status {};
  if (::lstat(file.c_str(), &status) != 0) return 0;
  return static_cast<std::uint64_t>(status.st_blocks) * kStatBlockBytes;
}

std::optional<KeptCopy> find_base(const KeptCopies& copies, const std::string& container, std::uint64_t volume_bytes,
                                  const fs::path& directory) {
  struct stat status {};
  check_syscall(::stat(directory.c_str(), &status), "stat", directory.native());
  std::optional<KeptCopy> newest;
  std::pair<std::int64_t, std::int64_t> newest_time;
  for (KeptCopy& copy : copies.list()) {
    if (copy.container != container) continue;
    const auto time = written_at(copy.image, volume_bytes, status.st_dev);
    if (!time || (newest && *time <= newest_time)) continue;
    newest_time = *time;
    newest = std::move(copy);
  }
  return newest;
}

std::string to_json(const KeptCopy& copy) {
  json document = {{"container", copy.container},
                   {"migration", to_hex(copy.migration)},
                   {"image", copy.image.native()},
                   {"bundle", copy.bundle.native()},
                   {"until", copy.until}};
  if (copy.is_partial) document["partial"] = true;
  return document.dump();
}

KeptCopy kept_copy_from_json(const std::string& text) try {
  const json document = json::parse(text);
  return {.container = document.at("container"),
          .migration = bits128_from_hex(document.at("migration").get<std::string>()),
          .image = document.at("image").get<std::string>(),
          .bundle = document.at("bundle").get<std::string>(),
          .until = document.at("until"),
          .is_partial = document.value("partial", false)};   // notes of earlier versions do not have it
} catch (const json::exception& failure) {
  throw Error(Errc::internal, std::string("this is no note of a kept copy: ") + failure.what());
}

void KeptCopies::write(const KeptCopy& copy) const { notes_.write({note_name(copy), to_json(copy)}); }

std::vector<KeptCopy> KeptCopies::list() const {
  std::vector<KeptCopy> copies;
  const auto read = [&](const Note& note) {
    KeptCopy copy = kept_copy_from_json(note.text);
    if (note_name(copy) != note.name) throw Error(Errc::internal, "it is the note of " + note_name(copy));
    copies.push_back(std::move(copy));
  };
  notes_.for_each(read, log_bad_note("kept_copy"));
  return copies;
}

/// The image first: it may lie in the bundle.
void KeptCopies::remove(const KeptCopy& copy) const {
  remove_tree(copy.image);
  remove_tree(copy.bundle);
  notes_.remove(note_name(copy));
}

std::vector<KeptCopy> remove_expired(const KeptCopies& copies, std::uint64_t unix_time) {
  std::vector<KeptCopy> gone;
  for (KeptCopy& copy : copies.list()) {
    if (copy.until > unix_time) continue;
    const std::string what = "container=" + copy.container + " migration=" + to_hex(copy.migration);
    try {
      copies.remove(copy);
      log(LogLevel::info, what + " event=kept_copy_removed image=" + copy.image.native());
      gone.push_back(std::move(copy));
    } catch (const std::exception& failure) {
      log(LogLevel::warn, what + " event=kept_copy_stays reason=" + failure.what());
    }
  }
  return gone;
}

}  // namespace vmigrate

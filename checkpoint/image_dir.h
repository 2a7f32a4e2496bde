// SPDX-License-Identifier: GPL-2.0-or-later
// A temporary directory of checkpoint files, listed and digested in a fixed order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace vmigrate {

struct ImageFile {
  std::string name;
  std::uint64_t bytes = 0;
  Bits128 digest;            ///< XXH3-128 of the content
  bool operator==(const ImageFile&) const = default;
};

/// A directory on tmpfs, mode 0700, removed with everything in it on destruction (mounts a killed CRIU left inside are
/// unmounted first). All operations block; names are checked and opened beneath the directory without following links.
class ImageDir {
 public:
  static constexpr std::uint32_t kFilesMax = 65536;

  /// Makes a fresh directory below `parent` and mounts a tmpfs of at most `bytes_max` on it. Throws Error.
  static ImageDir create(const std::filesystem::path& parent, const std::string& name, std::uint64_t bytes_max);
  /// What an earlier create() left: to be removed on destruction. Nothing if there is no such directory.
  static std::optional<ImageDir> take_over(const std::filesystem::path& parent, const std::string& name);
  /// A directory that is there already and stays: nothing is mounted or removed. For tests without privileges.
  static ImageDir adopt(const std::filesystem::path& directory, std::uint64_t bytes_max);
  ImageDir(ImageDir&& other) noexcept;
  ImageDir& operator=(ImageDir&&) = delete;
  ~ImageDir();

  const std::filesystem::path& path() const { return path_; }
  /// Every file, in the order of their names, with its digest. What CRIU reports about its own run (*.log, stats-*) is
  /// left out, and write() refuses it: no restore needs it.
  std::vector<ImageFile> list() const;
  /// The names and sizes of the same files, without reading them.
  std::map<std::string, std::uint64_t> sizes() const;
  /// Reads up to into.size() bytes at `offset`; 0 at the end.
  std::size_t read(const std::string& name, std::uint64_t offset, std::span<std::byte> into) const;
  /// Creates the file if needed. Throws Error(Errc::protocol_violation) for a name that is not
  /// [A-Za-z0-9][A-Za-z0-9._-]{0,254} or when the bounds on files or bytes are passed.
  void write(const std::string& name, std::uint64_t offset, std::span<const std::byte> bytes);
  /// Throws Error(Errc::digest_mismatch) naming the first file that is missing, extra, or differs.
  void verify(std::span<const ImageFile> manifest) const;

 private:
  enum class Owner { us, caller };
  ImageDir(std::filesystem::path path, std::uint64_t bytes_max, Owner owner);
  std::uint64_t bytes_written(const std::string& name) const;
  /// Throws Error(Errc::protocol_violation) if a write of `length` bytes at `offset` passes the bounds.
  void check_bounds(const std::string& name, std::uint64_t offset, std::uint64_t length) const;
  /// The file reaches to `end` now, at least.
  void count(const std::string& name, std::uint64_t end);

  std::filesystem::path path_;   ///< empty once moved from
  Owner owner_;
  std::uint64_t bytes_max_;
  std::map<std::string, std::uint64_t> written_;   ///< by write(), with their sizes
  std::uint64_t bytes_ = 0;                        ///< the sum of those
  UniqueFd directory_;
};

}  // namespace vmigrate

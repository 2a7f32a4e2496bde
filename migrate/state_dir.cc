// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/state_dir.h"

#include <openssl/evp.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <array>
#include <cctype>
#include <fstream>
#include <optional>
#include <span>

#include "base/assert.h"
#include "base/disk.h"
#include "base/error.h"

namespace vmigrate {
namespace {

void make_directory(const std::filesystem::path& path) {
  std::error_code failure;
  std::filesystem::create_directories(path, failure);
  if (failure) throw Error(failure.value(), "cannot make the directory", path.native());
  ::chmod(path.c_str(), 0700);
}

/// The first half of its SHA-256.
std::string digest_of(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  const int ok = EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr);
  MIGRATE_ASSERT(ok == 1 && length == 32);
  return to_hex(std::as_bytes(std::span(digest)).first(16));
}

std::optional<Bits128> read_host_id(const std::filesystem::path& path) {
  std::string digits;
  if (std::ifstream(path) >> digits) return bits128_from_hex(digits);
  return std::nullopt;
}

/// The id in the file, or a new one put there whole. Of several who come first at once, all get the same one.
Bits128 read_or_make_host_id(const std::filesystem::path& path) {
  if (const auto id = read_host_id(path)) return *id;
  const std::string text = to_hex(random_id()) + "\n";
  create_file(real_disk(), path, std::as_bytes(std::span(text)), Naming::must_be_free);
  const auto id = read_host_id(path);
  if (!id) throw Error(Errc::internal, path.native() + " holds no id of this host; remove it, and a new one is made");
  return *id;
}

}  // namespace

StateDir::StateDir(std::filesystem::path root) : root_(std::filesystem::absolute(root)) {
  make_directory(root_);
  for (const auto& directory : {journals(), scratch(), waybills_path(), kept_path(), root_ / "images",
                                root_ / "containers"})
    make_directory(directory);
  host_id_ = read_or_make_host_id(root_ / "host-id");
}

void StateDir::remove_unfinished() const {
  for (const auto& directory : {journals(), waybills_path(), kept_path()})
    vmigrate::remove_unfinished(real_disk(), directory);
}

std::string StateDir::scratch_name(const std::string& container, const std::string& suffix) {
  constexpr std::size_t kLengthMax = 200;
  const bool begins_well = !container.empty() && std::isalnum(static_cast<unsigned char>(container.front())) != 0;
  const bool is_plain = begins_well && container.size() <= kLengthMax && container.find('+') == std::string::npos &&
                        !container.starts_with("stats-");
  return (is_plain ? container : "c" + digest_of(container)) + suffix;
}

Bits128 random_id() {
  Bits128 id;
  if (::getrandom(&id, sizeof id, 0) != sizeof id) throw Error(errno, "getrandom");
  return id;
}

}  // namespace vmigrate

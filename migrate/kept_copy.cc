// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/kept_copy.h"

#include <nlohmann/json.hpp>

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

}  // namespace

std::string to_json(const KeptCopy& copy) {
  const json document = {{"container", copy.container},
                         {"migration", to_hex(copy.migration)},
                         {"image", copy.image.native()},
                         {"bundle", copy.bundle.native()},
                         {"until", copy.until}};
  return document.dump();
}

KeptCopy kept_copy_from_json(const std::string& text) try {
  const json document = json::parse(text);
  return {.container = document.at("container"),
          .migration = bits128_from_hex(document.at("migration").get<std::string>()),
          .image = document.at("image").get<std::string>(),
          .bundle = document.at("bundle").get<std::string>(),
          .until = document.at("until")};
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

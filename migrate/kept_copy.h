// SPDX-License-Identifier: GPL-2.0-or-later
// What a host keeps of a container that runs elsewhere, and for how long.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "migrate/note_dir.h"

namespace vmigrate {

struct KeptCopy {
  std::string container;
  Bits128 migration;
  std::filesystem::path image;    ///< empty if the root file system is on a device of its own
  std::filesystem::path bundle;   ///< empty if it is partial
  std::uint64_t until = 0;        ///< Unix time in s
  bool is_partial = false;        ///< what had arrived of a migration that came to nothing: never to be started
};

/// Throws Error(Errc::internal) for anything that is missing or of another type.
std::string to_json(const KeptCopy& copy);
KeptCopy kept_copy_from_json(const std::string& text);

/// Of one host: a note for each. A copy is noted before the waybill goes, so that nothing is left that nobody knows of.
class KeptCopies {
 public:
  explicit KeptCopies(NoteDir notes) : notes_(std::move(notes)) {}

  void write(const KeptCopy& copy) const;
  /// In the order of their names; one that cannot be read is logged and passed over.
  std::vector<KeptCopy> list() const;
  /// Removes the files, then the note. Nothing is removed from anything that is mounted; what is gone already is no
  /// failure. Throws Error.
  void remove(const KeptCopy& copy) const;

 private:
  NoteDir notes_;
};

/// The newest copy of the container that its next arrival can begin with: an image of exactly `volume_bytes` with at
/// least kBaseBytesMin of data, under one name, that nobody uses, on the file system of `directory`.
std::optional<KeptCopy> find_base(const KeptCopies& copies, const std::string& container, std::uint64_t volume_bytes,
                                  const std::filesystem::path& directory);
/// How much of the disk a file occupies; 0 if there is none.
std::uint64_t allocated_bytes(const std::filesystem::path& file);
/// Less than this is sent again as quickly as it is compared.
inline constexpr std::uint64_t kBaseBytesMin = 64 << 20;

/// Removes those whose time is over and logs each; what fails is logged and tried again the next time. Returns what is
/// gone.
std::vector<KeptCopy> remove_expired(const KeptCopies& copies, std::uint64_t unix_time);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// What the source keeps of a container that runs elsewhere now, and for how long.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "migrate/note_dir.h"

namespace vmigrate {

struct KeptCopy {
  std::string container;
  Bits128 migration;
  std::filesystem::path image;    ///< empty if the root file system is on a device of its own
  std::filesystem::path bundle;
  std::uint64_t until = 0;        ///< Unix time in s
};

/// Throws Error(Errc::internal) for anything that is missing or of another type.
std::string to_json(const KeptCopy& copy);
KeptCopy kept_copy_from_json(const std::string& text);

/// Of one host: a note for each. A copy is noted after its files have their new names, and before the
/// waybill goes: who removes what is noted leaves nothing.
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

/// Removes those whose time is over and logs each; what fails is logged and tried again the next time. Returns what is
/// gone.
std::vector<KeptCopy> remove_expired(const KeptCopies& copies, std::uint64_t unix_time);

}  // namespace vmigrate

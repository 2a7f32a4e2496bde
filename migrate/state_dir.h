// SPDX-License-Identifier: GPL-2.0-or-later
// Where a host keeps its things. Every path is made here, from checked names only.
#pragma once

#include <filesystem>
#include <string>

#include "base/bytes.h"
#include "migrate/kept_copy.h"
#include "migrate/waybill.h"

namespace vmigrate {

/// The layout below --state-dir. Directories are made 0700 when first needed.
class StateDir {
 public:
  /// Throws Error when the directory cannot be made or written.
  explicit StateDir(std::filesystem::path root);

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path journals() const { return root_ / "journal"; }
  std::filesystem::path waybills_path() const { return root_ / "waybills"; }
  WaybillDir waybills() const { return WaybillDir(waybills_path()); }
  std::filesystem::path kept_path() const { return root_ / "kept"; }
  KeptCopies kept_copies() const { return KeptCopies(NoteDir(kept_path())); }
  std::filesystem::path scratch() const { return root_ / "tmp"; }
  std::filesystem::path image(const std::string& container) const { return root_ / "images" / (container + ".img"); }
  std::filesystem::path bundle(const std::string& container) const { return root_ / "containers" / container; }

  /// The name of a directory in scratch() for one container's checkpoint: the id, or a digest of it where it would make
  /// no plain file name, and `suffix`.
  static std::string scratch_name(const std::string& container, const std::string& suffix);

  /// Removes the drafts of notes and journals whose makers were killed over them.
  void remove_unfinished() const;

  /// Random, made once per state directory: by it a host recognises itself.
  Bits128 host_id() const { return host_id_; }

 private:
  std::filesystem::path root_;
  Bits128 host_id_;
};

/// From getrandom(2).
Bits128 random_id();

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// Small texts that must outlive a power cut, each in a file of its own.
#pragma once

#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"

namespace vmigrate {

struct Note {
  std::string name;   ///< a plain file name that does not begin with '.'
  std::string text;   ///< at most 1 MiB
};

/// The notes in one directory. Whoever writes or removes one sees to it that nobody else does at the same time.
class NoteDir {
 public:
  explicit NoteDir(std::filesystem::path directory, Disk& disk = real_disk())
      : directory_(std::move(directory)), disk_(&disk) {}

  /// In place of the one of that name; on stable storage when it returns. Throws Error.
  void write(const Note& note) const;
  /// Idempotent. Throws Error when it is not known to be gone.
  void remove(const std::string& name) const;
  /// Calls `read` with each note, in the order of their names. For one that cannot be read, or that `read` throws at,
  /// `bad` is called with its name and why; one that is removed meanwhile is none. Throws Error when the directory
  /// cannot be listed.
  template <typename Read, typename Bad>
  void for_each(Read read, Bad bad) const {
    for (const std::string& name : names()) try {
      if (const auto text = text_of(name)) read(Note{name, *text});
    } catch (const std::exception& failure) {
      bad(name, failure);
    }
  }

 private:
  std::vector<std::string> names() const;
  std::optional<std::string> text_of(const std::string& name) const;

  std::filesystem::path directory_;
  Disk* disk_;
};

/// A `bad` for NoteDir::for_each() that logs an event bad_`kind`.
std::function<void(const std::string& name, const std::exception& failure)> log_bad_note(std::string kind);

}  // namespace vmigrate

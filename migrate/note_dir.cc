// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/note_dir.h"

#include <array>
#include <span>

#include "base/error.h"
#include "base/log.h"

namespace vmigrate {
namespace {

constexpr std::size_t kTextBytesMax = 1 << 20;

}  // namespace

void NoteDir::write(const Note& note) const {
  const std::filesystem::path path = directory_ / note.name;
  const std::filesystem::path draft = unfinished(path);
  const auto file = disk_->create(draft);
  file->lock();
  file->write(0, std::as_bytes(std::span(note.text)));
  file->sync();
  disk_->rename(draft, path);
  disk_->sync_names(directory_);
}

void NoteDir::remove(const std::string& name) const {
  if (disk_->remove(directory_ / name)) disk_->sync_names(directory_);
}

std::vector<std::string> NoteDir::names() const {
  std::vector<std::string> names = disk_->list(directory_);
  std::erase_if(names, is_unfinished);
  return names;
}

std::optional<std::string> NoteDir::text_of(const std::string& name) const {
  const auto file = disk_->open(directory_ / name);
  if (!file) return std::nullopt;
  std::string text;
  std::array<char, 4096> piece{};
  std::size_t got = piece.size();
  while (got == piece.size()) {
    got = file->read(text.size(), std::as_writable_bytes(std::span(piece)));
    text.append(piece.data(), got);
    if (text.size() > kTextBytesMax) throw Error(Errc::internal, "it is too long for a note");
  }
  return text;
}

std::function<void(const std::string& name, const std::exception& failure)> log_bad_note(std::string kind) {
  return [kind = std::move(kind)](const std::string& name, const std::exception& failure) {
    log(LogLevel::error, "event=bad_" + kind + " name=" + name + " reason=" + failure.what());
  };
}

}  // namespace vmigrate

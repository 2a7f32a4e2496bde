// SPDX-License-Identifier: GPL-2.0-or-later
// A file descriptor with one owner.
#pragma once

#include <string>
#include <utility>

namespace vmigrate {

/// Owns one file descriptor and closes it on destruction. Converts to nothing by itself; use get().
class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  bool is_open() const noexcept { return fd_ >= 0; }
  /// Gives the descriptor to the caller.
  int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes what is held and holds `fd`. A failure of close(2) is not reported: the descriptor is gone either way.
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

/// Another descriptor of what `fd` is, closed on exec. Throws Error, which names `object`.
UniqueFd duplicate(int fd, const std::string& object);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// How OpenSSL reaches a non-blocking socket: without raising SIGPIPE, and with few system calls.
#pragma once

#include <cstddef>
#include <vector>

#include "transport/openssl.h"

namespace vmigrate {

/// Gathers records that are written and reads many records at once. Reads and writes that would block set OpenSSL's
/// retry flags. Gathered records leave with flush(). The socket belongs to the caller and must outlive every call.
class SocketBio {
 public:
  explicit SocketBio(int fd);
  ~SocketBio();
  SocketBio(const SocketBio&) = delete;
  SocketBio& operator=(const SocketBio&) = delete;

  /// What SSL_set_bio() wants; valid as long as this object.
  BIO* get() const noexcept { return bio_.get(); }

  enum class Flushed { all, would_block, failed };
  /// Hands what is gathered to the kernel; errno tells of a failure.
  Flushed flush() noexcept;
  bool has_seen_end() const noexcept { return has_seen_end_; }
  /// The errno of the first failed read or write, or zero.
  int failure() const noexcept { return failure_; }

  int write(const char* data, std::size_t size) noexcept;
  int read(char* into, std::size_t size) noexcept;

 private:
  int fail() noexcept;

  int fd_;
  int failure_ = 0;
  bool has_seen_end_ = false;
  std::vector<char> out_;   // small until there is more to say: a peer that trickles costs little
  std::size_t out_begin_ = 0;
  std::size_t out_end_ = 0;
  std::vector<char> in_;    // the same
  std::size_t in_begin_ = 0;
  std::size_t in_end_ = 0;
  BioPtr bio_;
};

}  // namespace vmigrate

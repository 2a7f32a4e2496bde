// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/socket_bio.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace vmigrate {
namespace {

// Four records of 16 KiB: measured, more gains nothing and leaves the cache (bench/tls_bench.cc).
constexpr std::size_t kOutBytes = 68 << 10;
constexpr std::size_t kInBytes = 68 << 10;
constexpr std::size_t kFirstBytes = 4 << 10;  // a flight of the handshake

SocketBio& owner_of(BIO* bio) { return *static_cast<SocketBio*>(BIO_get_data(bio)); }

int bio_write(BIO* bio, const char* data, int size) {
  return owner_of(bio).write(data, static_cast<std::size_t>(size));
}
int bio_read(BIO* bio, char* into, int size) { return owner_of(bio).read(into, static_cast<std::size_t>(size)); }

long bio_control(BIO* bio, int command, long, void*) {
  // OpenSSL flushes after each handshake flight; records in the out buffer leave with SocketBio::flush() instead.
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return owner_of(bio).has_seen_end() ? 1 : 0;
  return 0;
}

const BIO_METHOD* method() {
  static const BioMethodPtr kMethod = [] {
    BioMethodPtr made(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "vmigrate socket"));
    BIO_meth_set_write(made.get(), &bio_write);
    BIO_meth_set_read(made.get(), &bio_read);
    BIO_meth_set_ctrl(made.get(), &bio_control);
    return made;
  }();
  return kMethod.get();
}

}  // namespace

SocketBio::SocketBio(int fd)
    : fd_(fd),
      out_(kFirstBytes),
      in_(kFirstBytes),
      bio_(BIO_new(method())) {
  if (!bio_) throw Error(Errc::internal, "OpenSSL has no memory for a connection");
  BIO_set_data(bio_.get(), this);
  BIO_set_init(bio_.get(), 1);
}

SocketBio::~SocketBio() = default;

int SocketBio::fail() noexcept {
  if (failure_ == 0) failure_ = errno;
  return -1;
}

SocketBio::Flushed SocketBio::flush() noexcept {
  while (out_begin_ < out_end_) {
    const auto sent = ::send(fd_, out_.data() + out_begin_, out_end_ - out_begin_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Flushed::would_block;
    if (sent < 0) return fail(), Flushed::failed;
    out_begin_ += static_cast<std::size_t>(sent);
  }
  out_begin_ = out_end_ = 0;
  return Flushed::all;
}

int SocketBio::write(const char* data, std::size_t size) noexcept {
  BIO_clear_retry_flags(bio_.get());
  if (size > out_.size() - out_end_ && out_.size() < kOutBytes) out_.resize(kOutBytes);
  if (size > out_.size() - out_end_) {
    const Flushed flushed = flush();
    if (flushed == Flushed::failed) return -1;
    if (flushed == Flushed::would_block) {
      BIO_set_retry_write(bio_.get());
      return -1;
    }
  }
  const std::size_t taken = std::min(size, out_.size() - out_end_);
  std::memcpy(out_.data() + out_end_, data, taken);
  out_end_ += taken;
  return static_cast<int>(taken);
}

int SocketBio::read(char* into, std::size_t size) noexcept {
  BIO_clear_retry_flags(bio_.get());
  if (in_begin_ == in_end_) {
    if (in_end_ == in_.size()) in_.resize(kInBytes);
    const auto got = ::recv(fd_, in_.data(), in_.size(), MSG_DONTWAIT);
    if (got == 0) has_seen_end_ = true;
    if (got == 0) return 0;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
      BIO_set_retry_read(bio_.get());
      return -1;
    }
    if (got < 0) return fail();
    in_begin_ = 0;
    in_end_ = static_cast<std::size_t>(got);
  }
  const std::size_t taken = std::min(size, in_end_ - in_begin_);
  std::memcpy(into, in_.data() + in_begin_, taken);
  in_begin_ += taken;
  return static_cast<int>(taken);
}

}  // namespace vmigrate

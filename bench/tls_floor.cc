// SPDX-License-Identifier: GPL-2.0-or-later
// The floor of a copy: the data extents of an image, read, sent with SSL_write over 1, 2 or 4 connections, and written
// to a sparse file at the other end. A thread for each connection and end, blocking calls, chunks of 1 MiB; the same
// certificates and cipher as the product. It looks for no zeroes, digests nothing, compresses nothing, flushes nothing.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "bench/two_ends.h"
#include "transport/openssl.h"

using namespace vmigrate;

namespace {

constexpr std::uint64_t kChunkBytes = 1 << 20;

/// What stands before each chunk; both ends are this program on this machine. No bytes: that was all.
struct Chunk {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

/// The data of an image in order, handed out to the threads that send it.
class DataChunks {
 public:
  DataChunks(int fd, std::uint64_t size) : fd_(fd), size_(size) {}

  std::optional<Chunk> next() {
    const std::lock_guard lock(mutex_);
    if (at_ == data_end_ && !find_data()) return std::nullopt;
    const Chunk chunk{at_, std::min(kChunkBytes, data_end_ - at_)};
    at_ += chunk.bytes;
    return chunk;
  }

 private:
  bool find_data() {
    const off_t begin = ::lseek(fd_, static_cast<off_t>(at_), SEEK_DATA);
    if (begin < 0 && errno == ENXIO) return false;
    const off_t end = begin < 0 ? begin : ::lseek(fd_, begin, SEEK_HOLE);
    if (end < 0) check_syscall(-1, "lseek");
    at_ = static_cast<std::uint64_t>(begin);
    data_end_ = std::min(size_, static_cast<std::uint64_t>(end));
    return true;
  }

  std::mutex mutex_;
  int fd_;
  std::uint64_t size_;
  std::uint64_t at_ = 0;
  std::uint64_t data_end_ = 0;
};

[[noreturn]] void fail(const char* what) { throw Error(Errc::tls_failed, what + (": " + take_openssl_error())); }

SslPtr made_for(SSL_CTX* context, int fd) {
  SslPtr made(SSL_new(context));
  SSL_set_fd(made.get(), fd);
  SSL_clear_mode(made.get(), SSL_MODE_ENABLE_PARTIAL_WRITE);
  return made;
}

void write_all(SSL* tls, const void* bytes, std::size_t count) {
  if (SSL_write(tls, bytes, static_cast<int>(count)) <= 0) fail("SSL_write");
}

void read_all(SSL* tls, std::byte* into, std::size_t count) {
  for (std::size_t done = 0; done < count;) {
    const int got = SSL_read(tls, into + done, static_cast<int>(count - done));
    if (got <= 0) fail("SSL_read");
    done += static_cast<std::size_t>(got);
  }
}

sockaddr_in address_of(const Endpoint& at) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(at.port);
  if (::inet_pton(AF_INET, at.host.c_str(), &address.sin_addr) != 1)
    throw Error(Errc::usage, "not an IPv4 address: " + at.host);
  return address;
}

// --- sending ---------------------------------------------------------------------------------------------------------

void send_stream(SSL_CTX* context, const sockaddr_in& to, int image, DataChunks& chunks) {
  const UniqueFd fd(check_syscall(::socket(AF_INET, SOCK_STREAM, 0), "socket"));
  check_syscall(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), "connect");
  const SslPtr tls = made_for(context, fd.get());
  if (SSL_connect(tls.get()) != 1) fail("SSL_connect");
  std::vector<std::byte> buffer(sizeof(Chunk) + kChunkBytes);
  while (const auto chunk = chunks.next()) {
    std::memcpy(buffer.data(), &*chunk, sizeof *chunk);
    for (std::uint64_t done = 0; done < chunk->bytes;) {
      std::byte* into = buffer.data() + sizeof *chunk + done;
      const auto got = ::pread(image, into, chunk->bytes - done, static_cast<off_t>(chunk->offset + done));
      done += static_cast<std::uint64_t>(check_syscall(got, "pread"));
      if (got == 0) throw Error(Errc::copy_failed, "the image became shorter");
    }
    write_all(tls.get(), buffer.data(), sizeof *chunk + chunk->bytes);
  }
  const Chunk end;
  write_all(tls.get(), &end, sizeof end);
  read_all(tls.get(), buffer.data(), 1);
}

// --- receiving -------------------------------------------------------------------------------------------------------

void receive_stream(SSL_CTX* context, const UniqueFd& fd, int image) {
  const SslPtr tls = made_for(context, fd.get());
  if (SSL_accept(tls.get()) != 1) fail("SSL_accept");
  std::vector<std::byte> buffer(kChunkBytes);
  for (;;) {
    Chunk chunk;
    read_all(tls.get(), reinterpret_cast<std::byte*>(&chunk), sizeof chunk);
    if (chunk.bytes == 0) break;
    if (chunk.bytes > kChunkBytes) throw Error(Errc::protocol_violation, "a chunk is too long");
    read_all(tls.get(), buffer.data(), chunk.bytes);
    for (std::uint64_t done = 0; done < chunk.bytes;)
      done += static_cast<std::uint64_t>(check_syscall(::pwrite(image, buffer.data() + done, chunk.bytes - done,
                                                                static_cast<off_t>(chunk.offset + done)), "pwrite"));
  }
  write_all(tls.get(), "!", 1);
}

// --- threads ---------------------------------------------------------------------------------------------------------

/// Runs `work(i)` on a thread for each stream; throws the first failure.
template <typename Work>
void on_each_stream(unsigned streams, Work work) {
  std::vector<std::exception_ptr> failures(streams);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < streams; ++i)
    threads.emplace_back([&, i] {
      try {
        work(i);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

void send_image(const TwoEnds& ends) {
  const TlsContext tls(ends.tls_dir);
  const UniqueFd image(check_syscall(::open(ends.image.c_str(), O_RDONLY | O_CLOEXEC), "open", ends.image.native()));
  DataChunks chunks(image.get(), std::filesystem::file_size(ends.image));
  const sockaddr_in to = address_of(ends.at);
  on_each_stream(ends.streams,
                 [&](unsigned) { send_stream(tls.for_connecting().native_handle(), to, image.get(), chunks); });
}

void receive_image(const TwoEnds& ends) {
  const TlsContext tls(ends.tls_dir);
  const int made = ::open(ends.image.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const UniqueFd image(check_syscall(made, "open", ends.image.native()));
  check_syscall(::ftruncate(image.get(), static_cast<off_t>(ends.bytes)), "ftruncate", ends.image.native());
  const UniqueFd listening(check_syscall(::socket(AF_INET, SOCK_STREAM, 0), "socket"));
  const sockaddr_in address = address_of(ends.at);
  check_syscall(::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
  check_syscall(::listen(listening.get(), 16), "listen");
  std::vector<UniqueFd> accepted;
  for (unsigned i = 0; i < ends.streams; ++i)
    accepted.emplace_back(check_syscall(::accept(listening.get(), nullptr, nullptr), "accept"));
  on_each_stream(ends.streams,
                 [&](unsigned i) { receive_stream(tls.for_accepting().native_handle(), accepted[i], image.get()); });
}

}  // namespace

int main(int argc, char** argv) {
  return run_one_end(argc, argv, "The floor of a copy over TLS, file to file.", send_image, receive_image);
}

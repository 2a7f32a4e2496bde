// SPDX-License-Identifier: GPL-2.0-or-later
// One TLS stream over loopback, memory to memory: our Channel beside plain SSL_write and SSL_read on the same machine
// in the same run. Only the ratio travels to other machines. Usage: tls_bench [GiB] [repetitions]
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/unique_fd.h"
#include "transport/endpoint.h"
#include "transport/openssl.h"
#include "transport/pki.h"

using namespace vmigrate;

namespace {

constexpr std::uint32_t kBlocks = kDataBytesMax / kWireBlockBytes;

struct Figure {
  double seconds;
  double cpu_seconds;
};

double cpu_now() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <typename Work>
Figure measured(Work work) {
  const double cpu = cpu_now();
  const auto began = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - began;
  return {elapsed.count(), cpu_now() - cpu};
}

void run_on_own_loop(Task<> task) {
  asio::io_context loop(1);
  std::exception_ptr failure;
  asio::co_spawn(loop, std::move(task), [&](std::exception_ptr thrown) { failure = thrown; });
  loop.run();
  if (failure) std::rethrow_exception(failure);
}

Task<> send_all(Endpoint to, const TlsContext& tls, const std::vector<std::byte>& data, std::uint64_t messages) {
  const auto channel = co_await connect(to, tls);
  channel->set_compression(Compression::none);
  for (std::uint64_t i = 0; i < messages; ++i) {
    const Message message = BlockData{i * kBlocks, kBlocks, data};
    co_await channel->send(message);
  }
  co_await expect<LinkProbeEnd>(*channel);
}

Task<> receive_all(Listener& listener, std::uint64_t messages) {
  const auto channel = co_await listener.accept();
  for (std::uint64_t i = 0; i < messages; ++i) co_await expect<BlockData>(*channel);
  const Message done = LinkProbeEnd{};
  co_await channel->send(done);
}

void run_channel(const TlsContext& alpha, const TlsContext& beta, const std::vector<std::byte>& data,
                 std::uint64_t messages) {
  asio::io_context loop(1);
  const auto listener = listen(loop.get_executor(), {"127.0.0.1", 0}, beta);
  const Endpoint to = listener->local_endpoint();
  std::thread sender([&] { run_on_own_loop(send_all(to, alpha, data, messages)); });
  asio::co_spawn(loop, receive_all(*listener, messages), [&](std::exception_ptr thrown) {
    if (thrown) std::rethrow_exception(thrown);
    listener->close();
  });
  loop.run();
  sender.join();
}

// --- the floor -------------------------------------------------------------------------------------------------------

SslPtr plain_ssl(SSL_CTX* context, int fd) {
  SslPtr made(SSL_new(context));
  SSL_set_fd(made.get(), fd);
  SSL_clear_mode(made.get(), SSL_MODE_ENABLE_PARTIAL_WRITE);
  return made;
}

void plain_send(SSL_CTX* context, UniqueFd fd, const std::vector<std::byte>& data, std::uint64_t messages) {
  const SslPtr tls = plain_ssl(context, fd.get());
  if (SSL_connect(tls.get()) != 1) std::abort();
  for (std::uint64_t i = 0; i < messages; ++i)
    if (SSL_write(tls.get(), data.data(), static_cast<int>(data.size())) <= 0) std::abort();
  char done = 0;
  SSL_read(tls.get(), &done, 1);
}

void plain_receive(SSL_CTX* context, UniqueFd fd, std::size_t message_bytes, std::uint64_t messages) {
  const SslPtr tls = plain_ssl(context, fd.get());
  if (SSL_accept(tls.get()) != 1) std::abort();
  std::vector<std::byte> into(message_bytes);
  for (std::uint64_t left = messages * message_bytes; left > 0;) {
    const std::size_t at =
        static_cast<std::size_t>(left % message_bytes == 0 ? 0 : message_bytes - left % message_bytes);
    const int got = SSL_read(tls.get(), into.data() + at, static_cast<int>(message_bytes - at));
    if (got <= 0) std::abort();
    left -= static_cast<std::uint64_t>(got);
  }
  SSL_write(tls.get(), "!", 1);
}

void run_plain(const TlsContext& alpha, const TlsContext& beta, const std::vector<std::byte>& data,
               std::uint64_t messages) {
  const UniqueFd listening(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  check_syscall(::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), length), "bind");
  check_syscall(::listen(listening.get(), 1), "listen");
  check_syscall(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
  UniqueFd dialled(::socket(AF_INET, SOCK_STREAM, 0));
  check_syscall(::connect(dialled.get(), reinterpret_cast<const sockaddr*>(&address), length), "connect");
  UniqueFd accepted(check_syscall(::accept(listening.get(), nullptr, nullptr), "accept"));
  std::thread sender([&] { plain_send(alpha.for_connecting().native_handle(), std::move(dialled), data, messages); });
  plain_receive(beta.for_accepting().native_handle(), std::move(accepted), data.size(), messages);
  sender.join();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double report(const char* what, const std::vector<Figure>& figures, double gigabytes) {
  std::vector<double> rates;
  std::vector<double> costs;
  for (const Figure& figure : figures) {
    rates.push_back(gigabytes / figure.seconds);
    costs.push_back(figure.cpu_seconds / gigabytes);
  }
  std::printf("%-26s %5.2f GB/s (%.2f to %.2f), %.2f CPU s/GB for both ends\n", what, median(rates),
              *std::ranges::min_element(rates), *std::ranges::max_element(rates), median(costs));
  return median(rates);
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t gib = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 4;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 3;
  std::string pattern = (std::filesystem::temp_directory_path() / "vmigrate-bench-XXXXXX").string();
  const std::filesystem::path directory = ::mkdtemp(pattern.data());
  create_authority(directory / "ca");
  for (const char* host : {"alpha", "beta"})
    issue_certificates(directory / "ca", directory / host, {host, {"IP:127.0.0.1"}});
  const TlsContext alpha(directory / "alpha");
  const TlsContext beta(directory / "beta");
  std::filesystem::remove_all(directory);

  const std::vector<std::byte> data(kDataBytesMax, std::byte{0x5a});
  const std::uint64_t messages = gib << 10;
  const double gigabytes = static_cast<double>(messages) * static_cast<double>(data.size()) * 1e-9;
  std::vector<Figure> plain;
  std::vector<Figure> ours;
  for (int i = 0; i < repetitions; ++i) {
    plain.push_back(measured([&] { run_plain(alpha, beta, data, messages); }));
    ours.push_back(measured([&] { run_channel(alpha, beta, data, messages); }));
  }
  const double floor = report("plain SSL_write/SSL_read", plain, gigabytes);
  const double channel = report("Channel", ours, gigabytes);
  std::printf("ratio %.2f (1 MiB messages, TLS_AES_128_GCM_SHA256, %llu GiB, median of %d)\n", channel / floor,
              static_cast<unsigned long long>(gib), repetitions);
}

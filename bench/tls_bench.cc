// SPDX-License-Identifier: GPL-2.0-or-later
// TLS over loopback, memory to memory: our Channel beside plain SSL_write and SSL_read, with records of several sizes,
// the kernel's TLS if it has it, several streams on one thread and on a thread each; all in turns, in one run. Only
// ratios travel to other machines. Usage: tls_bench [GiB] [repetitions]
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "base/unique_fd.h"
#include "transport/endpoint.h"
#include "transport/openssl.h"
#include "transport/pki.h"

using namespace vmigrate;

namespace {

constexpr std::uint32_t kBlocks = kDataBytesMax / kWireBlockBytes;

/// What both ends need: who they are, and what is sent how often over all streams together.
struct Load {
  const TlsContext& alpha;
  const TlsContext& beta;
  std::vector<std::byte> data;
  std::uint64_t messages;
};

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

Figure measured(const std::function<void()>& work) {
  const double cpu = cpu_now();
  const auto began = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - began;
  return {elapsed.count(), cpu_now() - cpu};
}

// --- our channel -----------------------------------------------------------------------------------------------------

struct ChannelWay {
  unsigned streams = 1;
  unsigned threads = 1;   ///< of each end
  Compression compression = Compression::none;
};

Task<> send_all(Endpoint to, const Load& load, std::uint64_t messages, const ChannelWay& way) {
  const auto channel = co_await connect(to, load.alpha);
  channel->set_compression(way.compression, way.streams);
  for (std::uint64_t i = 0; i < messages; ++i) {
    const Message message = BlockData{i * kBlocks, kBlocks, load.data};
    co_await channel->send(message);
  }
  co_await expect<LinkProbeEnd>(*channel);
}

Task<> receive_all(Listener& listener, std::uint64_t messages) {
  const auto channel = co_await listener.accept();
  for (std::uint64_t i = 0; i < messages; ++i) co_await expect<BlockData>(*channel);
  const Message done = LinkProbeEnd{};
  co_await channel->send(done);
  listener.close();
}

void run_channels(const Load& load, const ChannelWay& way) {
  const auto rethrow = [](std::exception_ptr thrown) {
    if (thrown) std::rethrow_exception(thrown);
  };
  std::vector<std::unique_ptr<asio::io_context>> loops(std::size_t{2} * way.threads);   // of both ends, in turn
  for (auto& loop : loops) loop = std::make_unique<asio::io_context>(1);
  std::vector<std::unique_ptr<Listener>> listeners;
  for (unsigned i = 0; i < way.streams; ++i) {
    asio::io_context& receiving = *loops[2 * (i % way.threads)];
    asio::io_context& sending = *loops[2 * (i % way.threads) + 1];
    listeners.push_back(listen(receiving.get_executor(), {"127.0.0.1", 0}, load.beta));
    const std::uint64_t messages = load.messages / way.streams;
    asio::co_spawn(receiving, receive_all(*listeners.back(), messages), rethrow);
    asio::co_spawn(sending, send_all(listeners.back()->local_endpoint(), load, messages, way), rethrow);
  }
  std::vector<std::thread> threads;
  for (auto& loop : loops) threads.emplace_back([&loop] { loop->run(); });
  for (std::thread& thread : threads) thread.join();
}

// --- plain OpenSSL ---------------------------------------------------------------------------------------------------

struct PlainWay {
  unsigned streams = 1;
  unsigned record_bytes = SSL3_RT_MAX_PLAIN_LENGTH;
  bool by_kernel = false;   ///< what is sent is encrypted by the kernel
};

SslPtr plain_ssl(SSL_CTX* context, int fd, const PlainWay& way) {
  SslPtr made(SSL_new(context));
  SSL_set_fd(made.get(), fd);
  SSL_clear_mode(made.get(), SSL_MODE_ENABLE_PARTIAL_WRITE);
  SSL_set_max_send_fragment(made.get(), way.record_bytes);
  if (way.by_kernel) SSL_set_options(made.get(), SSL_OP_ENABLE_KTLS);
  return made;
}

void plain_send(const Load& load, UniqueFd fd, const PlainWay& way) {
  const SslPtr tls = plain_ssl(load.alpha.for_connecting().native_handle(), fd.get(), way);
  if (SSL_connect(tls.get()) != 1) std::abort();
  if (way.by_kernel && !BIO_get_ktls_send(SSL_get_wbio(tls.get()))) std::abort();
  for (std::uint64_t i = 0; i < load.messages / way.streams; ++i)
    if (SSL_write(tls.get(), load.data.data(), static_cast<int>(load.data.size())) <= 0) std::abort();
  char done = 0;
  SSL_read(tls.get(), &done, 1);
}

void plain_receive(const Load& load, UniqueFd fd, const PlainWay& way) {
  const SslPtr tls = plain_ssl(load.beta.for_accepting().native_handle(), fd.get(), way);
  if (SSL_accept(tls.get()) != 1) std::abort();
  std::vector<std::byte> into(load.data.size());
  for (std::uint64_t left = load.messages / way.streams * into.size(); left > 0;) {
    const std::size_t at = (into.size() - left % into.size()) % into.size();
    const int got = SSL_read(tls.get(), into.data() + at, static_cast<int>(into.size() - at));
    if (got <= 0) std::abort();
    left -= static_cast<std::uint64_t>(got);
  }
  SSL_write(tls.get(), "!", 1);
}

struct Connection {
  UniqueFd dialled;
  UniqueFd accepted;
};

Connection connect_to_ourselves() {
  const UniqueFd listening(check_syscall(::socket(AF_INET, SOCK_STREAM, 0), "socket"));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  check_syscall(::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), length), "bind");
  check_syscall(::listen(listening.get(), 1), "listen");
  check_syscall(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
  UniqueFd dialled(check_syscall(::socket(AF_INET, SOCK_STREAM, 0), "socket"));
  check_syscall(::connect(dialled.get(), reinterpret_cast<const sockaddr*>(&address), length), "connect");
  UniqueFd accepted(check_syscall(::accept(listening.get(), nullptr, nullptr), "accept"));
  return {std::move(dialled), std::move(accepted)};
}

void run_plain(const Load& load, const PlainWay& way) {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < way.streams; ++i) {
    Connection connection = connect_to_ourselves();
    threads.emplace_back([&, fd = std::move(connection.dialled)]() mutable { plain_send(load, std::move(fd), way); });
    threads.emplace_back(
        [&, fd = std::move(connection.accepted)]() mutable { plain_receive(load, std::move(fd), way); });
  }
  for (std::thread& thread : threads) thread.join();
}

/// Why the kernel cannot encrypt; empty if it can.
std::string why_not_by_kernel() {
#ifdef OPENSSL_NO_KTLS
  return "OpenSSL was built without it";
#else
  const Connection connection = connect_to_ourselves();
  static constexpr char kName[] = "tls";
  if (::setsockopt(connection.dialled.get(), IPPROTO_TCP, TCP_ULP, kName, sizeof kName) == 0) return {};
  return "this kernel has none: " + std::generic_category().message(errno);
#endif
}

// --- all ways in turn ------------------------------------------------------------------------------------------------

struct Way {
  std::string name;
  std::function<void()> run;
  std::vector<Figure> figures = {};
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// `first` is what the ratio is to.
void print(const Way& way, const Way& first, double gigabytes) {
  const auto seconds_of = [](const Way& one) {
    std::vector<double> seconds;
    for (const Figure& figure : one.figures) seconds.push_back(figure.seconds);
    std::ranges::sort(seconds);
    return seconds;
  };
  const auto seconds = seconds_of(way);
  std::vector<double> costs;
  for (const Figure& figure : way.figures) costs.push_back(figure.cpu_seconds / gigabytes);
  std::printf("%-46s %5.2f GB/s (%.2f to %.2f)  %.2f CPU s/GB  ratio %.2f\n", way.name.c_str(),
              gigabytes / median(seconds), gigabytes / seconds.back(), gigabytes / seconds.front(), median(costs),
              median(seconds_of(first)) / median(seconds));
}

std::vector<std::byte> random_bytes(std::size_t count) {
  std::mt19937_64 random(1);
  std::vector<std::byte> bytes(count);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });
  return bytes;
}

std::vector<Way> ways_of(const Load& load) {
  std::vector<Way> ways;
  const auto add_plain = [&](std::string name, PlainWay way) {
    ways.push_back({"SSL_write and SSL_read, " + name, [&load, way] { run_plain(load, way); }});
  };
  const auto add_channel = [&](std::string name, ChannelWay way) {
    ways.push_back({"Channel, " + name, [&load, way] { run_channels(load, way); }});
  };
  add_plain("records of 16 KiB", {});
  add_plain("records of 8 KiB", {.record_bytes = 8 << 10});
  add_plain("records of 4 KiB", {.record_bytes = 4 << 10});
  if (const auto why_not = why_not_by_kernel(); why_not.empty())
    add_plain("by the kernel", {.by_kernel = true});
  else
    std::printf("SKIPPED: TLS by the kernel: %s\n", why_not.c_str());
  add_plain("4 streams", {.streams = 4});
  add_channel("records of 16 KiB", {});
  add_channel("deciding whether to compress", {.compression = Compression::automatic});
  add_channel("4 streams, coroutines of one thread", {.streams = 4});
  add_channel("4 streams, a thread each", {.streams = 4, .threads = 4});
  return ways;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t gib = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 4;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 5;
  std::string pattern = (std::filesystem::temp_directory_path() / "vmigrate-bench-XXXXXX").string();
  const std::filesystem::path directory = ::mkdtemp(pattern.data());
  create_authority(directory / "ca");
  for (const char* host : {"alpha", "beta"})
    issue_certificates(directory / "ca", directory / host, {host, {"IP:127.0.0.1"}});
  const TlsContext alpha(directory / "alpha");
  const TlsContext beta(directory / "beta");
  std::filesystem::remove_all(directory);

  const Load load{alpha, beta, random_bytes(kDataBytesMax), gib << 10};
  const double gigabytes = static_cast<double>(load.messages) * static_cast<double>(load.data.size()) * 1e-9;
  std::vector<Way> ways = ways_of(load);
  for (int i = 0; i < repetitions; ++i)
    for (Way& way : ways) way.figures.push_back(measured(way.run));
  std::printf("messages of 1 MiB, random bytes; TLS_AES_128_GCM_SHA256; %llu GiB; median of %d\n",
              static_cast<unsigned long long>(gib), repetitions);
  for (const Way& way : ways) print(way, ways.front(), gigabytes);
}

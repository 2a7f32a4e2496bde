// SPDX-License-Identifier: GPL-2.0-or-later
// The first round of a migration, image file to image file over one TLS stream on loopback, through the real copier,
// sink, channel and writer: two event loops, as on two hosts. Prints one line a run. Usage: round_bench SOURCE COPY
// [repetitions]
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <thread>

#include <boost/asio/io_context.hpp>

#include "bench/own_loop.h"
#include "bench/quiet_volume.h"
#include "engine/image_sink.h"
#include "migrate/block_writer.h"
#include "migrate/remote_block_sink.h"
#include "transport/endpoint.h"
#include "transport/pki.h"

using namespace vmigrate;

namespace {

constexpr std::size_t kPoolThreads = 4;   // as in the agent

Task<> send_round(Endpoint to, const TlsContext& tls, std::filesystem::path source, RoundStats& stats) {
  asio::thread_pool pool(kPoolThreads);
  SteadyClock clock;
  Cancellation cancellation;
  FileVolume volume(open_source(pool, source));
  NullTracker tracker(volume.geometry());
  DigestIndex digests(volume.geometry(), std::filesystem::temp_directory_path());
  const auto channel = co_await connect(to, tls);
  channel->set_compression(Compression::none);
  RemoteBlockSink sink({*channel, digests, clock, cancellation});
  VolumeCopier copier({tracker, volume, sink, digests, clock, pool});
  stats = co_await copier.copy_round();
  const Message done = Done{};
  co_await channel->send(done);
}

Task<> receive_round(Listener& listener, std::filesystem::path copy, VolumeGeometry geometry) {
  asio::thread_pool pool(kPoolThreads);
  const auto executor = co_await asio::this_coro::executor;
  const auto channel = co_await listener.accept();
  const auto sink = create_image_sink(pool, copy, geometry, 0);
  DigestIndex digests(geometry, std::filesystem::temp_directory_path());
  BlockWriter writer(executor, pool, *sink, digests);
  for (;;) {
    const Message message = co_await channel->receive();
    if (const auto* data = std::get_if<BlockData>(&message)) {
      const Extent extent{{data->first_block}, data->block_count};
      co_await writer.write(extent, data->bytes);
    } else if (const auto* end = std::get_if<RoundEnd>(&message)) {
      co_await writer.settle();
      co_await sink->flush();
      const Message ack = RoundAck{end->round, digests.root()};
      co_await channel->send(ack);
    } else if (std::holds_alternative<Done>(message)) {
      co_return;
    }
  }
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: round_bench SOURCE COPY [repetitions]\n");
    return 2;
  }
  std::string pattern = (std::filesystem::temp_directory_path() / "vmigrate-bench-XXXXXX").string();
  const std::filesystem::path directory = ::mkdtemp(pattern.data());
  create_authority(directory / "ca");
  for (const char* host : {"alpha", "beta"})
    issue_certificates(directory / "ca", directory / host, {host, {"IP:127.0.0.1"}});
  const TlsContext alpha(directory / "alpha");
  const TlsContext beta(directory / "beta");
  std::filesystem::remove_all(directory);

  const VolumeGeometry geometry{std::filesystem::file_size(argv[1])};
  const int repetitions = argc > 3 ? std::atoi(argv[3]) : 3;
  for (int i = 0; i < repetitions; ++i) {
    std::filesystem::remove(argv[2]);
    asio::io_context loop(1);
    const auto listener = listen(loop.get_executor(), {"127.0.0.1", 0}, beta);
    const Endpoint to = listener->local_endpoint();
    RoundStats stats;
    const double cpu_before = cpu_seconds();
    std::thread source([&] { run_on_own_loop(send_round(to, alpha, argv[1], stats)); });
    asio::co_spawn(loop, receive_round(*listener, argv[2], geometry), [&](std::exception_ptr thrown) {
      listener->close();
      if (thrown) std::rethrow_exception(thrown);
    });
    loop.run();
    source.join();
    const double gigabytes = static_cast<double>(stats.data_bytes) * 1e-9;
    std::printf("round over TLS %8.2f GB/s, %.2f CPU s/GB for both ends, %.2f GB of data in an image of %.2f GB\n",
                gigabytes / std::chrono::duration<double>(stats.duration).count(),
                (cpu_seconds() - cpu_before) / gigabytes, gigabytes, static_cast<double>(geometry.bytes) * 1e-9);
  }
}

// SPDX-License-Identifier: GPL-2.0-or-later
// The first round of a migration as two processes, so that what it costs can be counted on each side: image file to
// image file through the real copier, sink, channel and writer. Nothing of a migration is left out but the container.
#include <boost/asio/io_context.hpp>

#include "bench/quiet_volume.h"
#include "bench/two_ends.h"
#include "engine/image_sink.h"
#include "migrate/block_writer.h"
#include "migrate/remote_block_sink.h"

using namespace vmigrate;

namespace {

constexpr std::size_t kPoolThreads = 4;   // as in the agent

void run_on_own_loop(asio::io_context& loop, Task<> task) {
  std::exception_ptr failure;
  asio::co_spawn(loop, std::move(task), [&](std::exception_ptr thrown) { failure = thrown; });
  loop.run();
  if (failure) std::rethrow_exception(failure);
}

void refuse_more_than_one_stream(const TwoEnds& ends) {
  if (ends.streams != 1) throw Error(Errc::usage, "the engine copies over one stream only: --streams must be 1");
}

Task<> send_round(TwoEnds ends, const TlsContext& tls) {
  asio::thread_pool pool(kPoolThreads);
  SteadyClock clock;
  Cancellation cancellation;
  FileVolume volume(open_source(pool, ends.image));
  NullTracker tracker(volume.geometry());
  DigestIndex digests(volume.geometry(), std::filesystem::temp_directory_path());
  const auto channel = co_await connect(ends.at, tls);
  channel->set_compression(ends.compression);
  RemoteBlockSink sink({*channel, digests, clock, cancellation});
  VolumeCopier copier({tracker, volume, sink, digests, clock, pool});
  const RoundStats stats = co_await copier.copy_round();
  const Message done = Done{};
  co_await channel->send(done);
  std::printf("%.2f GB of data in %.2f s\n", static_cast<double>(stats.data_bytes) * 1e-9,
              std::chrono::duration<double>(stats.duration).count());
}

Task<> receive_round(TwoEnds ends, Listener& listener) {
  asio::thread_pool pool(kPoolThreads);
  const VolumeGeometry geometry{ends.bytes};
  const auto executor = co_await asio::this_coro::executor;
  const auto channel = co_await listener.accept();
  listener.close();
  const auto sink = create_image_sink(pool, ends.image, geometry, 0);
  DigestIndex digests(geometry, std::filesystem::temp_directory_path());
  BlockWriter writer(executor, pool, *sink, digests);
  for (;;) {
    const Message message = co_await channel->receive();
    if (const auto* data = std::get_if<BlockData>(&message)) {
      const Extent extent{{data->first_block}, data->block_count};
      co_await writer.write(extent, data->bytes);
    } else if (const auto* zeroes = std::get_if<BlockZeroes>(&message)) {
      const Extent extent{{zeroes->first_block}, zeroes->block_count};
      co_await writer.write_zeroes(extent);
    } else if (const auto* end = std::get_if<RoundEnd>(&message)) {
      co_await writer.settle();
      co_await sink->flush();
      const Message ack = RoundAck{end->round, digests.root()};
      co_await channel->send(ack);
    } else if (std::holds_alternative<Done>(message)) {
      co_return;
    } else {
      throw_unexpected(*channel, message, "blocks");
    }
  }
}

void send_image(const TwoEnds& ends) {
  refuse_more_than_one_stream(ends);
  const TlsContext tls(ends.tls_dir);
  asio::io_context loop(1);
  run_on_own_loop(loop, send_round(ends, tls));
}

void receive_image(const TwoEnds& ends) {
  refuse_more_than_one_stream(ends);
  const TlsContext tls(ends.tls_dir);
  asio::io_context loop(1);
  const auto listener = listen(loop.get_executor(), ends.at, tls);
  run_on_own_loop(loop, receive_round(ends, *listener));
}

}  // namespace

int main(int argc, char** argv) {
  return run_one_end(argc, argv, "The first round of a migration, file to file.", send_image, receive_image);
}

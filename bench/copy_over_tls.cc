// SPDX-License-Identifier: GPL-2.0-or-later
// The first round of a migration as two processes, so that what it costs can be counted on each side: image file to
// image file through the real copier, lanes and sink. Nothing of a migration is left out but the container.
#include "bench/own_loop.h"
#include "bench/quiet_volume.h"
#include "bench/round_ends.h"
#include "bench/two_ends.h"
#include "engine/image_sink.h"
#include "migrate/remote_barrier.h"

using namespace vmigrate;

namespace {

constexpr std::size_t kPoolThreads = 4;

using Channels = std::vector<std::unique_ptr<Channel>>;

/// The first one, and those for the blocks.
std::size_t connections(const TwoEnds& ends) { return 1 + ends.streams; }

std::unique_ptr<Channel> take_first(Channels& channels) {
  auto first = std::move(channels.front());
  channels.erase(channels.begin());
  return first;
}

// --- sending ---------------------------------------------------------------------------------------------------------

Task<Channels> dial(const TwoEnds& ends, const TlsContext& tls) {
  Channels channels;
  while (channels.size() < connections(ends)) channels.push_back(co_await connect(ends.at, tls));
  co_return channels;
}

Task<> send_round(const TwoEnds& ends, const TlsContext& tls) {
  asio::thread_pool pool(kPoolThreads);
  SteadyClock clock;
  Cancellation cancellation;
  FileVolume volume(open_source(pool, ends.image));
  NullTracker tracker(volume.geometry());
  DigestIndex digests(volume.geometry(), std::filesystem::temp_directory_path());
  Channels channels = co_await dial(ends, tls);
  const auto first = take_first(channels);
  Pacer pacer(clock, 0);
  OutgoingLanes lanes(std::move(channels), {ends.compression, pacer, {}});
  RemoteBarrier barrier({*first, digests, cancellation, lanes});
  VolumeCopier copier({tracker, volume, barrier, digests, clock, pool, lanes.copy_lanes()});
  const RoundStats stats = co_await copier.copy_round();
  const Message done = Done{};
  co_await first->send(done);
  std::printf("%.2f GB of data in %.2f s\n", static_cast<double>(stats.data_bytes) * 1e-9,
              std::chrono::duration<double>(stats.duration).count());
}

// --- receiving -------------------------------------------------------------------------------------------------------

Task<> receive_round(const TwoEnds& ends, Listener& listener) {
  asio::thread_pool pool(kPoolThreads);
  SteadyClock clock;
  const VolumeGeometry geometry{ends.bytes};
  const auto executor = co_await asio::this_coro::executor;
  Channels channels;
  while (channels.size() < connections(ends)) channels.push_back(co_await listener.accept());
  listener.close();
  const auto first = take_first(channels);
  const auto sink = create_image_sink(pool, ends.image, geometry, 0);
  DigestIndex digests(geometry, std::filesystem::temp_directory_path());
  IncomingLanes lanes(executor, std::move(channels), {*sink, digests, geometry, clock, {}});
  const Copy copy{lanes, *sink, digests};
  co_await acknowledge_rounds_and_end(*first, copy);
}

// --- both ends -------------------------------------------------------------------------------------------------------

void send_image(const TwoEnds& ends) {
  const TlsContext tls(ends.tls_dir);
  run_on_own_loop(send_round(ends, tls));
}

Task<> listen_and_receive(const TwoEnds& ends, const TlsContext& tls) {
  const auto listener = listen(co_await asio::this_coro::executor, ends.at, tls);
  co_await receive_round(ends, *listener);
}

void receive_image(const TwoEnds& ends) {
  const TlsContext tls(ends.tls_dir);
  run_on_own_loop(listen_and_receive(ends, tls));
}

}  // namespace

int main(int argc, char** argv) {
  return run_one_end(argc, argv, "The first round of a migration, file to file.", send_image, receive_image);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/dry_run.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "migrate/estimate.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kLinkTimeMax = 2s;
constexpr std::uint64_t kLinkBytesMax = 256 << 20;
constexpr auto kAnswerTimeout = 60s;
constexpr int kSamples = 10;

struct Link {
  double bytes_per_second = 0;
  Duration round_trip{};
};

/// Filler that no compression shrinks: the image's own data may.
std::vector<std::byte> make_filler() {
  std::vector<std::byte> filler(kDataBytesMax);
  std::mt19937_64 random(1);
  std::generate(filler.begin(), filler.end(), [&random] { return static_cast<std::byte>(random()); });
  return filler;
}

Task<Duration> measure_round_trip(Channel& channel, Clock& clock) {
  const TimePoint start = clock.now();
  const Message question = LinkProbeEnd{};
  co_await channel.send(question);
  co_await expect<LinkProbeAck>(channel);
  co_return clock.now() - start;
}

Task<Link> measure_link(DryRunParts& parts) {
  Link link;
  link.round_trip = co_await measure_round_trip(parts.channel, parts.clock);
  const std::vector<std::byte> filler = make_filler();
  const TimePoint start = parts.clock.now();
  std::uint64_t bytes = 0;
  while (bytes < kLinkBytesMax && parts.clock.now() - start < kLinkTimeMax) {
    parts.cancellation.check();
    const Message probe = LinkProbe{filler};
    co_await parts.channel.send(probe);
    bytes += filler.size();
  }
  // What is sent is not yet received: the acknowledgement ends the measurement.
  co_await measure_round_trip(parts.channel, parts.clock);
  link.bytes_per_second = static_cast<double>(bytes) / std::chrono::duration<double>(parts.clock.now() - start).count();
  const std::uint64_t limit = parts.departure.offer().options.bandwidth_max;
  if (limit > 0) link.bytes_per_second = std::min(link.bytes_per_second, static_cast<double>(limit));
  co_return link;
}

/// A tracker that compares with digests needs something to compare with. Others are not slowed down by it.
Task<> record_everything(DryRunParts& parts) {
  std::vector<std::byte> buffer(kExtentBlocksMax * kBlockBytes);
  Volume& volume = parts.departure.volume();
  DigestIndex& digests = parts.departure.digests();
  BlockIndex at;
  for (auto run = volume.next_data(at); run; run = volume.next_data(at)) {
    parts.cancellation.check();
    const Extent extent{run->first, std::min(run->count, kExtentBlocksMax)};
    const std::span<std::byte> bytes = std::span(buffer).first(extent.bytes());
    co_await volume.read(extent, bytes);
    co_await offload(parts.departure.pool(), [&digests, extent, bytes] { digests.update(extent, bytes); });
    at = extent.end();
  }
}

/// Written blocks accumulate in one set, so that a block written twice counts once, as it would in a round.
Task<std::vector<DirtySample>> sample_writes(DryRunParts& parts, WriteTracker& tracker) {
  DirtySet written(tracker.geometry().block_count());
  std::vector<DirtySample> samples;
  const Duration step = std::max<Duration>(100ms, parts.departure.offer().options.sample / kSamples);
  co_await parts.departure.volume().write_back();
  co_await tracker.drain_into(written);
  written.clear();
  const TimePoint start = parts.clock.now();
  while (samples.empty() || samples.back().elapsed < parts.departure.offer().options.sample) {
    parts.cancellation.check();
    co_await parts.clock.sleep_for(step);
    co_await parts.departure.volume().write_back();
    co_await tracker.drain_into(written);
    samples.push_back({parts.clock.now() - start, written.count() * kBlockBytes});
  }
  co_return samples;
}

}  // namespace

Task<nlohmann::json> run_dry_run(DryRunParts parts) {
  const Offer& offer = parts.departure.offer();
  const TimePoint start = parts.clock.now();
  parts.channel.set_idle_timeout(kAnswerTimeout);
  parts.channel.set_compression(Compression::none, 1);
  const Message open = Open{parts.id, to_json(offer)};
  co_await parts.channel.send(open);
  const Accept accept = co_await expect<Accept>(parts.channel);
  const Answer answer = answer_from_json(accept.answer);
  parts.progress.report(
      {{"event", "remark"}, {"message", parts.channel.peer_name() + " would take it (" + answer.host.tools + ")"}});

  const Link link = co_await measure_link(parts);
  const ArmedTracker armed = co_await parts.departure.arm_tracker();
  if (!armed.remark.empty()) parts.progress.report({{"event", "remark"}, {"message", armed.remark}});
  if (armed.tracker->name() == "rescan") co_await record_everything(parts);
  const std::vector<DirtySample> samples = co_await sample_writes(parts, *armed.tracker);
  const Message done = Done{parts.id};
  co_await parts.channel.send(done);

  EstimateInput input{.used_bytes = offer.used_bytes,
                      .memory_bytes = offer.memory_bytes,
                      .bytes_per_second = link.bytes_per_second,
                      .round_trip = link.round_trip,
                      .samples = samples,
                      .policy = policy_of(offer)};
  nlohmann::json report = to_json(estimate(input), input);
  report["event"] = "report";
  report["result"] = name_of(Outcome::predicted);
  report["container"] = offer.container;
  report["source"] = parts.host_name;
  report["destination"] = parts.channel.peer_name();
  report["image"] = answer.image;
  report["tracker"] = armed.tracker->name();
  report["volume_bytes"] = offer.volume_bytes;
  report["sampled_seconds"] = std::chrono::duration<double>(parts.clock.now() - start).count();
  co_return report;
}

}  // namespace vmigrate

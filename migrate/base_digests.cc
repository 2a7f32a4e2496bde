// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/base_digests.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace vmigrate {
namespace {

constexpr auto kSilenceMax = std::chrono::seconds(2);
constexpr std::size_t kDigestsMax = kDataBytesMax / kWireDigestBytes;
constexpr std::uint64_t kZeroesToldMax = 16;   // about what another message costs

/// Digests on their way: neighbours together, as many as a message holds.
class DigestStream {
 public:
  DigestStream(Channel& channel, Clock& clock) : channel_(channel), clock_(clock), last_sent_(clock.now()) {}

  Task<> add(Extent extent, std::span<const Bits128> digests) {
    for (std::uint64_t i = 0; i < extent.count; ++i) {
      if (digests[i] == Bits128{}) continue;
      const BlockIndex block{extent.first.value + i};
      if (!fits(block)) co_await send();
      append(block, digests[i]);
    }
    read_until_ = extent.end();
    if (clock_.now() - last_sent_ >= kSilenceMax) co_await send();
  }
  Task<> end(Bits128 root) {
    if (!bytes_.empty()) co_await send();
    const Message message = DigestsEnd{root};
    co_await channel_.send(message);
  }

 private:
  std::uint64_t count() const { return bytes_.size() / kWireDigestBytes; }
  bool fits(BlockIndex block) const {
    if (bytes_.empty()) return true;
    const std::uint64_t count_with_it = block.value - first_.value + 1;
    return count_with_it <= kDigestsMax && count_with_it - count() <= kZeroesToldMax + 1;
  }
  void append(BlockIndex block, Bits128 digest) {
    if (bytes_.empty()) first_ = block;
    bytes_.resize((block.value - first_.value) * kWireDigestBytes);
    ByteWriter(bytes_).bits128(digest);
  }
  /// Without digests it says how far we have read.
  Task<> send() {
    const Message message = Digests{bytes_.empty() ? read_until_.value : first_.value, bytes_};
    co_await channel_.send(message);
    bytes_.clear();
    last_sent_ = clock_.now();
  }

  Channel& channel_;
  Clock& clock_;
  TimePoint last_sent_;
  BlockIndex read_until_;
  BlockIndex first_;
  std::vector<std::byte> bytes_;   ///< of the digests from first_ on
};

std::vector<Bits128> digests_of(Extent extent, std::span<const std::byte> blocks) {
  std::vector<Bits128> digests(extent.count);
  for (std::uint64_t i = 0; i < extent.count; ++i)
    digests[i] = DigestIndex::digest_of({extent.first.value + i}, blocks.subspan(i * kBlockBytes, kBlockBytes));
  return digests;
}

std::vector<Bits128> digests_in(std::span<const std::byte> bytes) {
  std::vector<Bits128> digests(bytes.size() / kWireDigestBytes);
  ByteReader reader(bytes);
  for (Bits128& digest : digests) digest = reader.bits128();
  return digests;
}

/// Each message goes further than the one before: whoever says nothing new does not keep us waiting for ever.
Extent checked(const Digests& told, BlockIndex told_until, const BaseHearing& parts) {
  const Extent extent{{told.first_block}, told.bytes.size() / kWireDigestBytes};
  if (extent.first < told_until || extent.end() <= told_until || extent.end().value > parts.geometry.block_count())
    throw Error(Errc::protocol_violation,
                parts.channel.peer_name() + " told digests out of order or beyond the end of the volume");
  return extent;
}

void check_root(Bits128 root, const BaseHearing& parts) {
  if (root == parts.digests.root()) return;
  throw Error(Errc::protocol_violation, "what " + parts.channel.peer_name() + " has does not have the digest it says");
}

}  // namespace

Task<> tell_base(BaseTelling parts) {
  DigestStream stream(parts.channel, parts.clock);
  std::vector<std::byte> buffer(kExtentBlocksMax * kBlockBytes);
  BlockIndex at;
  for (auto run = parts.base.next_data(at); run; run = parts.base.next_data(at)) {
    const Extent extent{run->first, std::min(run->count, kExtentBlocksMax)};
    const std::span<std::byte> blocks = std::span(buffer).first(extent.bytes());
    co_await parts.base.read(extent, blocks);
    std::vector<Bits128> digests;
    const auto work = [&] {
      digests = digests_of(extent, blocks);
      parts.digests.record(extent, digests);
    };
    co_await offload(parts.pool, work);
    co_await stream.add(extent, digests);
    at = extent.end();
  }
  const Bits128 root = parts.digests.root();
  co_await stream.end(root);
}

Task<> hear_base(BaseHearing parts) {
  BlockIndex told_until;
  for (;;) {
    if (!parts.heard) parts.heard = co_await parts.channel.receive();
    const Message message = *std::exchange(parts.heard, std::nullopt);
    if (const auto* end = std::get_if<DigestsEnd>(&message)) co_return check_root(end->root, parts);
    const auto* told = std::get_if<Digests>(&message);
    if (told == nullptr) throw_unexpected(parts.channel, message, "Digests");
    const Extent extent = checked(*told, told_until, parts);
    told_until = extent.end();
    if (extent.count == 0) continue;
    const auto work = [&] { parts.digests.record(extent, digests_in(told->bytes)); };
    co_await offload(parts.pool, work);
  }
}

}  // namespace vmigrate

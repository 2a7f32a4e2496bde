// SPDX-License-Identifier: GPL-2.0-or-later
// What the destination holds already, told to the source as digests, so that only what differs is sent.
#pragma once

#include <optional>

#include "base/clock.h"
#include "engine/block_io.h"
#include "engine/digest_index.h"
#include "transport/channel.h"

namespace vmigrate {

/// The destination's half. Reads the whole base, records it in `digests`, and tells it meanwhile; however long it reads
/// zeroes, it says something every few seconds.
struct BaseTelling {
  Channel& channel;
  Clock& clock;
  asio::thread_pool& pool;
  BlockSource& base;
  DigestIndex& digests;   ///< of zeroes until now
};
Task<> tell_base(BaseTelling parts);

/// The source's half: records what it hears. Throws Error(Errc::protocol_violation) for what is out of order, out of
/// bounds, or not what the other side has in the end.
struct BaseHearing {
  Channel& channel;
  asio::thread_pool& pool;
  VolumeGeometry geometry;
  DigestIndex& digests;             ///< of zeroes until now
  std::optional<Message>& heard;    ///< the first of it, if that came already
};
Task<> hear_base(BaseHearing parts);

}  // namespace vmigrate

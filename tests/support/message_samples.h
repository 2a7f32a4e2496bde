// SPDX-License-Identifier: GPL-2.0-or-later
// One well-formed message of each type.
#pragma once

#include <vector>

#include "transport/message.h"

namespace vmigrate {

/// In the order of kMessageSpecs. Spans point to static storage.
inline std::vector<Message> message_samples() {
  static const std::vector<std::byte> kBlock(kWireBlockBytes, std::byte{0x5a});
  const MigrationId id{0x0123456789abcdef, 0xfedcba9876543210};
  const Bits128 digest{0x1111111111111111, 0x2222222222222222};
  return {
      Hello{1, 1, {7, 8}, "alpha", "vmigrate 0.1.0"},
      Open{id, R"({"container":"ct7"})"},
      Accept{id, "{}"},
      Refuse{14, "the image does not fit"},
      Pull{"{}"},
      Start{"{}"},
      Event{"{}"},
      Report{"{}"},
      Abort{id, 8, "cancelled by the operator"},
      Join{id},
      List{R"({"dry_run":false})"},
      Listing{"{}"},
      Digests{42, std::span(kBlock).first(32)},
      DigestsEnd{digest},
      Tune{R"({"bandwidth_max":0,"container":"ct7"})"},
      BlockData{42, 1, kBlock},
      BlockZeroes{43, 1000},
      RoundEnd{2, 1, digest},
      RoundAck{2, digest},
      LinkProbe{std::span(kBlock).first(16)},
      LinkProbeEnd{},
      LinkProbeAck{1 << 20},
      ImageChunk{"pages-1.img", 8192, std::span(kBlock).first(100)},
      Manifest{{{"core-1.img", 100, digest}, {"pages-1.img", 8292, digest}}},
      Ready{id, digest},
      Go{id},
      Running{id, 3},
      Refused{id},
      Done{id},
      Ask{id, "redis"},
      Wait{id},
  };
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The JSON documents inside Open, Accept, Pull and Start. docs/protocol.md describes them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/network.h"
#include "engine/convergence.h"
#include "engine/tracker_choice.h"
#include "transport/channel.h"

namespace vmigrate {

/// What one host says about itself, so that the other can refuse before anything moves.
struct HostFacts {
  std::string architecture;             ///< "x86_64"
  std::string kernel;                   ///< "6.12.1"
  std::vector<std::string> cpu_flags;   ///< as in /proc/cpuinfo
  std::string tools;                    ///< "criu 4.2.1, runc 1.1.5"
};

/// What a freeze costs besides bytes: CRIU's dump and restore of a small container, mounting, round trips. Measured in
/// the lab with a redis of 3 MiB: 300 to 400 ms in all.
inline constexpr std::chrono::milliseconds kFixedFreezeCost{300};

/// More connections for blocks than this are neither asked for nor granted.
inline constexpr std::uint32_t kStreamsMax = 16;

/// What the operator may choose for one migration. Sent by whoever starts it.
struct MigrationOptions {
  std::chrono::milliseconds downtime_max{1000};        ///< freeze as soon as the estimate fits
  std::chrono::milliseconds freeze_timeout{10'000};    ///< from freeze to GIVEN; then the source goes on
  std::uint32_t rounds_max = 10;
  OnStall on_stall = OnStall::freeze;
  bool auto_converge = false;                          ///< a container that does not converge gets less CPU time
  std::chrono::milliseconds timeout{0};                ///< from the start to the freeze; 0: none
  TimeoutAction timeout_action = TimeoutAction::cancel;
  TrackerKind tracker = TrackerKind::automatic;
  Compression compression = Compression::automatic;
  bool verifies = false;  ///< while frozen both sides read the whole image again and compare
  std::uint64_t bandwidth_max = 0;                     ///< while it runs, bytes per second; 0: as fast as it goes
  std::uint64_t switchover_bandwidth_max = 0;          ///< the same while it stands still
  std::uint32_t streams = 0;                           ///< connections for blocks; 0: what suits the source
  std::chrono::seconds keep_source{24 * 3600};         ///< how long the source keeps its copy, renamed
  bool resumes = true;                                 ///< begins with what the destination has of it already
  bool keeps_partial = false;                          ///< what has arrived is kept even if it is cancelled
  std::chrono::seconds sample{5};                      ///< dry run: how long the dirty rate is measured
};

/// Source to destination, in Open: what would come.
struct Offer {
  std::string container;
  std::string runtime;
  std::string config;                   ///< OCI config.json, judged by checkpoint/container_config
  NetworkSpec network;
  std::string file_system;              ///< "ext4"
  std::uint64_t volume_bytes = 0;
  std::uint64_t used_bytes = 0;         ///< data in the volume: what the copy will occupy
  std::uint64_t memory_bytes = 0;       ///< resident memory of its processes
  std::uint64_t checkpoint_bytes_max = 0;
  std::uint64_t epoch = 0;              ///< the one the destination would own
  bool is_dry_run = false;              ///< judge it, prepare nothing
  std::string agent;                    ///< where Ask reaches the source's agent; empty if it has none
  MigrationOptions options;
  HostFacts host;
};

/// Destination to source, in Accept.
struct Answer {
  HostFacts host;
  std::string image;                    ///< where the copy will be, for the report
  std::string agent;                    ///< where Ask reaches the destination's agent; empty if it has none
  std::uint32_t offer_checksum = 0;     ///< of the offer as it arrived, see checksum_of()
  std::uint32_t streams = 0;            ///< connections for blocks that may join; 0: it is a dry run
  std::uint64_t base_bytes = 0;         ///< data of an earlier copy to begin with, whose digests follow; 0: none
};

/// Who starts what: an operator to an agent (Start), or a destination's agent to a source's (Pull).
struct Request {
  std::string container;
  std::string peer;                     ///< Start: the other host; Pull: the destination's agent, where Ask reaches it
  bool is_pull = false;
  bool is_dry_run = false;
  MigrationOptions options;
};

/// Parsing throws Error(Errc::protocol_violation) for anything that is missing, of another type, or out of bounds.
std::string to_json(const Offer& offer);
std::string to_json(const Answer& answer);
std::string to_json(const Request& request);
Offer offer_from_json(const std::string& text);
Answer answer_from_json(const std::string& text);
Request request_from_json(const std::string& text);

/// When to freeze what is offered.
ConvergencePolicy policy_of(const Offer& offer);

/// CRC-32C of an offer's text. The image and the checkpoint have digests; this is what the rest has.
std::uint32_t checksum_of(const std::string& offer_text);

}  // namespace vmigrate

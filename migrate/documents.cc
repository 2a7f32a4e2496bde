// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/documents.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "migrate/report.h"
#include "transport/frame.h"

namespace vmigrate {

using nlohmann::json;

NLOHMANN_JSON_SERIALIZE_ENUM(OnStall, {{OnStall::freeze, "freeze"}, {OnStall::abort, "abort"}})
NLOHMANN_JSON_SERIALIZE_ENUM(TimeoutAction, {{TimeoutAction::cancel, "cancel"}, {TimeoutAction::freeze, "freeze"}})
NLOHMANN_JSON_SERIALIZE_ENUM(TrackerKind, {{TrackerKind::automatic, "auto"},
                                           {TrackerKind::bpf, "bpf"},
                                           {TrackerKind::rescan, "rescan"}})
NLOHMANN_JSON_SERIALIZE_ENUM(Compression, {{Compression::automatic, "auto"},
                                           {Compression::none, "none"},
                                           {Compression::lz4, "lz4"},
                                           {Compression::zstd, "zstd"}})

namespace {

constexpr std::uint64_t kMillisecondsMax = 24ULL * 3600 * 1000;
constexpr std::uint64_t kTimeoutMillisecondsMax = 30 * kMillisecondsMax;   // a large image over a thin link takes days
constexpr std::uint64_t kKeepSecondsMax = 87600ULL * 3600;
constexpr std::uint64_t kVolumeBytesMax = 1ULL << 50;

json encode(const HostFacts& host) {
  return {{"architecture", host.architecture},
          {"kernel", host.kernel},
          {"cpu_flags", host.cpu_flags},
          {"tools", host.tools}};
}

json encode(const MigrationOptions& options) {
  return {{"downtime_max_ms", options.downtime_max.count()},
          {"freeze_timeout_ms", options.freeze_timeout.count()},
          {"rounds_max", options.rounds_max},
          {"on_stall", options.on_stall},
          {"auto_converge", options.auto_converge},
          {"timeout_ms", options.timeout.count()},
          {"timeout_action", options.timeout_action},
          {"tracker", options.tracker},
          {"compression", options.compression},
          {"verify", options.verifies},
          {"bandwidth_max", options.bandwidth_max},
          {"switchover_bandwidth_max", options.switchover_bandwidth_max},
          {"streams", options.streams},
          {"keep_source_s", options.keep_source.count()},
          {"resume", options.resumes},
          {"keep_partial", options.keeps_partial},
          {"sample_s", options.sample.count()}};
}

/// One of the words of an enumeration. The library takes any other for the first of them.
template <typename Enum>
Enum choice(const json& in, const char* key) {
  const Enum value = in.at(key);
  if (json(value) != in.at(key))
    throw Error(Errc::protocol_violation, std::string("the field ") + key + " is no known word");
  return value;
}

HostFacts decode_host(const json& in) {
  return {in.at("architecture"), in.at("kernel"), in.at("cpu_flags"), in.at("tools")};
}

std::uint64_t bounded(const json& in, const char* key, std::uint64_t max) {
  const json& field = in.at(key);
  if (!field.is_number_unsigned() || field.get<std::uint64_t>() > max)
    throw Error(Errc::protocol_violation, std::string("the field ") + key + " is not a number within its bounds");
  return field.get<std::uint64_t>();
}

MigrationOptions decode_options(const json& in) {
  MigrationOptions options;
  options.downtime_max = std::chrono::milliseconds(bounded(in, "downtime_max_ms", kMillisecondsMax));
  options.freeze_timeout = std::chrono::milliseconds(bounded(in, "freeze_timeout_ms", kMillisecondsMax));
  options.rounds_max = static_cast<std::uint32_t>(bounded(in, "rounds_max", 1000));
  options.on_stall = choice<OnStall>(in, "on_stall");
  options.auto_converge = in.at("auto_converge");
  options.timeout = std::chrono::milliseconds(bounded(in, "timeout_ms", kTimeoutMillisecondsMax));
  options.timeout_action = choice<TimeoutAction>(in, "timeout_action");
  options.tracker = choice<TrackerKind>(in, "tracker");
  options.compression = choice<Compression>(in, "compression");
  options.verifies = in.at("verify");
  options.bandwidth_max = bounded(in, "bandwidth_max", UINT64_MAX);
  options.switchover_bandwidth_max = bounded(in, "switchover_bandwidth_max", UINT64_MAX);
  options.streams = static_cast<std::uint32_t>(bounded(in, "streams", kStreamsMax));
  options.keep_source = std::chrono::seconds(bounded(in, "keep_source_s", kKeepSecondsMax));
  options.resumes = in.at("resume");
  options.keeps_partial = in.at("keep_partial");
  options.sample = std::chrono::seconds(bounded(in, "sample_s", 3600));
  return options;
}

/// Whatever a peer sends that is not the document becomes one kind of failure.
template <typename Decode>
auto parse(const std::string& text, std::string_view what, Decode decode) {
  try {
    return decode(object_from_text(text, "the peer"));
  } catch (const json::exception& error) {
    throw Error(Errc::protocol_violation, std::string(what) + " from the peer is not understood: " + error.what());
  }
}

}  // namespace

std::string to_json(const Offer& offer) {
  return json{{"container", offer.container},
              {"runtime", offer.runtime},
              {"config", offer.config},
              {"network", to_json(offer.network)},
              {"file_system", offer.file_system},
              {"volume_bytes", offer.volume_bytes},
              {"used_bytes", offer.used_bytes},
              {"memory_bytes", offer.memory_bytes},
              {"checkpoint_bytes_max", offer.checkpoint_bytes_max},
              {"epoch", offer.epoch},
              {"dry_run", offer.is_dry_run},
              {"agent", offer.agent},
              {"options", encode(offer.options)},
              {"host", encode(offer.host)}}
      .dump();
}

Offer offer_from_json(const std::string& text) {
  return parse(text, "the offer", [](const json& in) {
    Offer offer;
    offer.container = in.at("container");
    offer.runtime = in.at("runtime");
    offer.config = in.at("config");
    offer.network = network_spec_from_json(in.at("network"));
    offer.file_system = in.at("file_system");
    offer.volume_bytes = bounded(in, "volume_bytes", kVolumeBytesMax);
    offer.used_bytes = bounded(in, "used_bytes", kVolumeBytesMax);
    offer.memory_bytes = bounded(in, "memory_bytes", kVolumeBytesMax);
    offer.checkpoint_bytes_max = bounded(in, "checkpoint_bytes_max", kVolumeBytesMax);
    offer.epoch = bounded(in, "epoch", UINT64_MAX);
    offer.is_dry_run = in.at("dry_run");
    offer.agent = in.at("agent");
    offer.options = decode_options(in.at("options"));
    offer.host = decode_host(in.at("host"));
    return offer;
  });
}

std::string to_json(const Answer& answer) {
  return json{{"host", encode(answer.host)},
              {"image", answer.image},
              {"agent", answer.agent},
              {"offer_checksum", answer.offer_checksum},
              {"streams", answer.streams},
              {"base_bytes", answer.base_bytes}}
      .dump();
}

Answer answer_from_json(const std::string& text) {
  return parse(text, "the answer", [](const json& in) {
    return Answer{decode_host(in.at("host")), in.at("image"), in.at("agent"),
                  static_cast<std::uint32_t>(bounded(in, "offer_checksum", UINT32_MAX)),
                  static_cast<std::uint32_t>(bounded(in, "streams", kStreamsMax)),
                  bounded(in, "base_bytes", kVolumeBytesMax)};
  });
}

std::string to_json(const Request& request) {
  return json{{"container", request.container},
              {"peer", request.peer},
              {"pull", request.is_pull},
              {"dry_run", request.is_dry_run},
              {"options", encode(request.options)}}
      .dump();
}

Request request_from_json(const std::string& text) {
  return parse(text, "the request", [](const json& in) {
    return Request{in.at("container"), in.at("peer"), in.at("pull"), in.at("dry_run"),
                   decode_options(in.at("options"))};
  });
}

ConvergencePolicy policy_of(const Offer& offer) {
  return {.downtime_max = offer.options.downtime_max,
          .rounds_max = offer.options.rounds_max,
          .on_stall = offer.options.on_stall,
          .throttles = offer.options.auto_converge,
          .fixed_downtime = kFixedFreezeCost,
          .memory_bytes = offer.memory_bytes,
          .frozen_bytes_per_second = offer.options.switchover_bandwidth_max};
}

std::uint32_t checksum_of(const std::string& offer_text) { return crc32c(std::as_bytes(std::span(offer_text))); }

}  // namespace vmigrate

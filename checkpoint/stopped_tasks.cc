// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/stopped_tasks.h"

#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "base/bytes.h"
#include "base/error.h"

namespace vmigrate {
namespace {

// The numbers are CRIU's, from its images/core.proto and criu/include/magic.h, which may grow but not change.
constexpr std::uint32_t kCommonMagic = 0x54564319;
constexpr std::uint32_t kCoreMagic = 0x55053847;
constexpr std::uint64_t kTaskCoreField = 3;
constexpr std::uint64_t kTaskStateField = 1;
constexpr std::uint64_t kTaskStopped = 3;
constexpr std::uint64_t kCoreBytesMax = 64 << 20;

std::uint64_t varint(ByteReader& reader) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const std::uint64_t byte = reader.u8();
    value |= (byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  throw Error(Errc::protocol_violation, "a number is too long");
}

/// One field of a protobuf message: a number or bytes.
struct Field {
  std::uint64_t number;
  std::uint64_t value;
  std::span<const std::byte> bytes;
};

Field next_field(ByteReader& reader) {
  const std::uint64_t key = varint(reader);
  Field field{.number = key >> 3, .value = 0, .bytes = {}};
  switch (key & 7) {
    case 0: field.value = varint(reader); break;
    case 1: field.value = reader.u64(); break;
    case 2: field.bytes = reader.take(varint(reader)); break;
    case 5: field.value = reader.u32(); break;
    default: throw Error(Errc::protocol_violation, "a field has an unknown type");
  }
  return field;
}

/// The first field `number` of `message`.
std::optional<Field> find_field(std::span<const std::byte> message, std::uint64_t number) {
  ByteReader reader(message);
  for (std::size_t left = message.size(); left > 0;) {
    const Field field = next_field(reader);
    if (field.number == number) return field;
    ByteReader rest = reader;
    left = rest.rest().size();
  }
  return std::nullopt;
}

/// The process id in "core-17.img".
std::optional<pid_t> pid_of_core(std::string_view name) {
  if (!name.starts_with("core-") || !name.ends_with(".img")) return std::nullopt;
  const auto digits = name.substr(5, name.size() - 9);
  pid_t pid = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), pid);
  if (failure != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return pid;
}

std::vector<pid_t> namespace_pids(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("NSpid:")) continue;
    std::istringstream words(line.substr(6));
    return {std::istream_iterator<pid_t>(words), {}};
  }
  return {};
}

}  // namespace

std::optional<bool> is_stopped_in_core_image(std::span<const std::byte> image) {
  ByteReader reader(image);
  std::uint32_t magic = reader.u32();
  if (magic == kCommonMagic) magic = reader.u32();
  if (magic != kCoreMagic) throw Error(Errc::protocol_violation, "it is no core image");
  const auto core = reader.take(reader.u32());
  const auto task = find_field(core, kTaskCoreField);
  if (!task) return std::nullopt;
  const auto state = find_field(task->bytes, kTaskStateField);
  return state && state->value == kTaskStopped;
}

std::set<pid_t> stopped_tasks(const ImageDir& images) {
  std::set<pid_t> stopped;
  for (const auto& [name, bytes] : images.sizes()) {
    const auto pid = pid_of_core(name);
    if (!pid) continue;
    if (bytes > kCoreBytesMax) throw Error(Errc::restore_failed, "checkpoint file " + name + " is too large");
    std::vector<std::byte> image(bytes);
    images.read(name, 0, image);
    try {
      if (is_stopped_in_core_image(image).value_or(false)) stopped.insert(*pid);
    } catch (const Error& failure) {
      throw Error(Errc::restore_failed, "checkpoint file " + name + " is damaged: " + failure.what());
    }
  }
  return stopped;
}

pid_t pid_within_container(pid_t pid, pid_t init) {
  const auto depth = namespace_pids(init).size();
  const auto pids = namespace_pids(pid);
  return depth > 0 && pids.size() >= depth ? pids[depth - 1] : 0;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// A message as the lines that docs/protocol.md lists under each example: "field = value".
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "transport/message.h"

namespace vmigrate {

class MessageText {
 public:
  static std::vector<std::string> of(const Message& message) {
    MessageText text;
    std::visit([&](const auto& m) { text.add(m); }, message);
    return text.lines_;
  }

 private:
  void line(const std::string& field, const std::string& value) { lines_.push_back(field + " = " + value); }
  void line(const std::string& field, std::uint64_t value) { line(field, std::to_string(value)); }
  void line(const std::string& field, Bits128 value) { line(field, to_hex(value)); }
  /// "5a*4096" for one byte over and over.
  void line(const std::string& field, std::span<const std::byte> bytes) {
    const bool is_uniform = bytes.size() > 4 && std::ranges::all_of(bytes, [&](std::byte b) { return b == bytes[0]; });
    line(field, is_uniform ? to_hex(bytes.first(1)) + "*" + std::to_string(bytes.size()) : to_hex(bytes));
  }

  void add(const Hello& m) {
    line("version_min", m.version_min);
    line("version_max", m.version_max);
    line("host_id", m.host_id);
    line("host_name", m.host_name);
    line("software", m.software);
  }
  void add(const Open& m) { line("id", m.id), line("offer", m.offer); }
  void add(const Accept& m) { line("id", m.id), line("answer", m.answer); }
  void add(const Refuse& m) { line("code", m.code), line("reason", m.reason); }
  void add(const Pull& m) { line("request", m.request); }
  void add(const Start& m) { line("request", m.request); }
  void add(const Event& m) { line("json", m.json); }
  void add(const Report& m) { line("json", m.json); }
  void add(const List& m) { line("request", m.request); }
  void add(const Listing& m) { line("json", m.json); }
  void add(const Tune& m) { line("request", m.request); }
  void add(const Abort& m) { line("id", m.id), line("code", m.code), line("reason", m.reason); }
  void add(const Digests& m) { line("first_block", m.first_block), line("bytes", m.bytes); }
  void add(const DigestsEnd& m) { line("root", m.root); }
  void add(const BlockData& m) {
    line("first_block", m.first_block), line("block_count", m.block_count), line("bytes", m.bytes);
  }
  void add(const BlockZeroes& m) { line("first_block", m.first_block), line("block_count", m.block_count); }
  void add(const RoundEnd& m) { line("round", m.round), line("kind", m.kind), line("root", m.root); }
  void add(const RoundAck& m) { line("round", m.round), line("root", m.root); }
  void add(const LinkProbe& m) { line("bytes", m.bytes); }
  void add(const LinkProbeEnd&) {}
  void add(const LinkProbeAck& m) { line("bytes_received", m.bytes_received); }
  void add(const ImageChunk& m) { line("name", m.name), line("offset", m.offset), line("bytes", m.bytes); }
  void add(const Manifest& m) {
    line("count", m.files.size());
    for (std::size_t i = 0; i < m.files.size(); ++i) {
      const std::string at = "files[" + std::to_string(i) + "].";
      line(at + "name", m.files[i].name), line(at + "bytes", m.files[i].bytes), line(at + "digest", m.files[i].digest);
    }
  }
  void add(const Ready& m) { line("id", m.id), line("root", m.root); }
  void add(const Running& m) { line("id", m.id), line("epoch", m.epoch); }
  void add(const Ask& m) { line("id", m.id), line("container", m.container); }
  /// Join, Go, Refused, Done and Wait.
  template <typename T>
  void add(const T& m) {
    line("id", m.id);
  }

  std::vector<std::string> lines_;
};

}  // namespace vmigrate

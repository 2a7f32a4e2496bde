// SPDX-License-Identifier: GPL-2.0-or-later
// docs/protocol.md is the golden file of the wire format: its table and its examples are compared with the code.
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/support/message_text.h"
#include "transport/frame.h"
#include "transport/codec.h"
#include "transport/message.h"

using namespace vmigrate;

namespace {

struct Section {
  std::string hex;                   ///< of the block marked hex
  std::string packed_hex;            ///< of the block marked lz4
  std::vector<std::string> fields;   ///< the "field = value" list
};

struct Document {
  std::vector<std::vector<std::string>> table;
  std::map<std::string, Section> sections;
};

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::vector<std::string> cells_of(const std::string& row) {
  std::vector<std::string> cells;
  std::istringstream in(row.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) cells.push_back(trimmed(cell));
  return cells;
}

class Parser {
 public:
  static Document parse(const std::string& file) {
    std::ifstream in(file);
    REQUIRE(in);
    Parser parser;
    for (std::string line; std::getline(in, line);) parser.take(line);
    return parser.document_;
  }

 private:
  void take(const std::string& line) {
    if (line.starts_with("```")) return take_fence(line);
    if (!fence_.empty()) return take_example(line);
    if (line.starts_with("## ")) section_ = nullptr, is_table_ = line == "## The messages";
    if (line.starts_with("### ")) section_ = &document_.sections[line.substr(4)], is_table_ = false;
    if (is_table_ && line.starts_with("| ") && std::isdigit(static_cast<unsigned char>(line[2])))
      document_.table.push_back(cells_of(line));
    if (section_ != nullptr && line.starts_with("- `")) section_->fields.push_back(line.substr(3, line.size() - 4));
  }
  void take_fence(const std::string& line) { fence_ = !fence_.empty() ? "" : line == "```" ? "text" : line.substr(3); }
  void take_example(const std::string& line) {
    if (section_ == nullptr) return;
    if (fence_ == "hex") section_->hex += line + " ";
    if (fence_ == "lz4") section_->packed_hex += line + " ";
  }

  Document document_;
  Section* section_ = nullptr;
  bool is_table_ = false;
  std::string fence_;
};

const Document& document() {
  static const Document kDocument = Parser::parse(VMIGRATE_SOURCE_DIR "/docs/protocol.md");
  return kDocument;
}

/// "56 4d 5a*4096": each word a byte, perhaps repeated.
std::vector<std::byte> bytes_of(const std::string& example) {
  std::vector<std::byte> bytes;
  std::istringstream in(example);
  for (std::string word; in >> word;) {
    const auto star = word.find('*');
    const auto value = from_hex(word.substr(0, star));
    REQUIRE(value.size() == 1);
    bytes.insert(bytes.end(), star == std::string::npos ? 1 : std::stoul(word.substr(star + 1)), value[0]);
  }
  return bytes;
}

std::string text_of(Direction direction) {
  switch (direction) {
    case Direction::both: return "both";
    case Direction::source_to_destination: return "source to destination";
    case Direction::destination_to_source: return "destination to source";
    case Direction::operator_to_agent: return "operator to agent";
    case Direction::agent_to_operator: return "agent to operator";
  }
  return "?";
}

std::vector<std::byte> framed(const Message& message) {
  std::vector<std::byte> frame(kFrameHeaderBytes);
  encode(message, frame);
  const auto length = static_cast<std::uint32_t>(frame.size() - kFrameHeaderBytes);
  encode_header({type_of(message), Codec::none, length, length}, std::span(frame).first<kFrameHeaderBytes>());
  return frame;
}

}  // namespace

TEST_CASE("the table of messages in docs/protocol.md is the one in the code", "[docs]") {
  REQUIRE(document().table.size() == kMessageSpecs.size());
  for (std::size_t i = 0; i < kMessageSpecs.size(); ++i) {
    const MessageSpec& spec = kMessageSpecs[i];
    const auto& row = document().table[i];
    INFO(spec.name);
    REQUIRE(row.size() == 5);
    CHECK(row[0] == std::to_string(spec.type));
    CHECK(row[1] == spec.name);
    CHECK(row[2] == text_of(spec.direction));
    CHECK_FALSE(row[3].empty());
    CHECK(row[4] == std::to_string(spec.payload_bytes_max));
  }
}

TEST_CASE("every message has an example in docs/protocol.md, and nothing else has", "[docs]") {
  std::set<std::string> names;
  for (const MessageSpec& spec : kMessageSpecs) {
    names.emplace(spec.name);
    INFO(spec.name);
    REQUIRE(document().sections.contains(std::string(spec.name)));
    CHECK_FALSE(document().sections.at(std::string(spec.name)).hex.empty());
  }
  for (const auto& [name, section] : document().sections) {
    INFO(name);
    CHECK(names.contains(name));
  }
}

TEST_CASE("every example decodes to the fields listed under it, and encodes to itself", "[docs]") {
  for (const auto& [name, section] : document().sections) {
    INFO(name);
    const auto frame = bytes_of(section.hex);
    REQUIRE(frame.size() >= kFrameHeaderBytes);
    const FrameHeader header = decode_header(std::span(frame).first<kFrameHeaderBytes>());
    REQUIRE(header.plain_bytes == frame.size() - kFrameHeaderBytes);
    const Message message = decode(header.type, std::span(frame).subspan(kFrameHeaderBytes));
    CHECK(name_of(message) == name);
    CHECK(MessageText::of(message) == section.fields);
    CHECK(to_hex(framed(message)) == to_hex(frame));
  }
}

TEST_CASE("a compressed example expands to the plain one", "[docs]") {
  std::size_t examples = 0;
  for (const auto& [name, section] : document().sections) {
    if (section.packed_hex.empty()) continue;
    ++examples;
    const auto frame = bytes_of(section.packed_hex);
    const FrameHeader header = decode_header(std::span(frame).first<kFrameHeaderBytes>());
    CHECK(header.codec == Codec::lz4);
    REQUIRE(header.wire_bytes == frame.size() - kFrameHeaderBytes);
    std::vector<std::byte> plain(header.plain_bytes);
    Expander().expand(header.codec, std::span(frame).subspan(kFrameHeaderBytes), plain);
    CHECK(MessageText::of(decode(header.type, plain)) == section.fields);
  }
  CHECK(examples > 0);
}

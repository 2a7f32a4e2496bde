// SPDX-License-Identifier: GPL-2.0-or-later
// The JSON documents: what is written is read, and whatever else arrives is refused.
#include "migrate/documents.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/catch.h"

using namespace vmigrate;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

MigrationOptions unusual_options() {
  return {.downtime_max = 123ms,
          .freeze_timeout = 4567ms,
          .rounds_max = 8,
          .on_stall = OnStall::abort,
          .auto_converge = true,
          .timeout = 89s,
          .timeout_action = TimeoutAction::freeze,
          .tracker = TrackerKind::rescan,
          .compression = Compression::lz4,
          .verifies = true,
          .bandwidth_max = 1'000'000,
          .switchover_bandwidth_max = 2'000'000,
          .keep_source = 77s,
          .resumes = false,
          .keeps_partial = true,
          .sample = 9s};
}

Offer some_offer() {
  return {.container = "ct7",
          .runtime = "runc",
          .config = R"({"ociVersion":"1.0.2"})",
          .network = {},
          .file_system = "ext4",
          .volume_bytes = 1 << 30,
          .used_bytes = 1 << 20,
          .memory_bytes = 2 << 20,
          .checkpoint_bytes_max = 68 << 20,
          .epoch = 3,
          .is_dry_run = true,
          .options = unusual_options(),
          .host = {"x86_64", "6.12.1", {"fpu", "avx2"}, "criu 4.2.1, runc 1.1.5"}};
}

Request some_request() {
  return {.container = "ct7", .peer = "beta:7701", .is_pull = true, .is_dry_run = true, .options = unusual_options()};
}

Answer some_answer() {
  return {{"x86_64", "6.12.1", {"fpu"}, "criu 4.2.1"}, "/var/lib/ct7.img", "10.0.0.2:7700", 0xfedcba98};
}

template <typename Parse>
void check_refused(const std::string& text, Parse parse) {
  try {
    parse(text);
    FAIL_CHECK("accepted: " << text);
  } catch (const Error& error) {
    CHECK(error.code_or(Errc::internal) == Errc::protocol_violation);
  }
}

/// A value of another type than `value`.
json of_another_type(const json& value) {
  if (value.is_string()) return 17;
  if (value.is_boolean()) return 1;
  return "seventeen";
}

/// Takes each field out, and gives each field another type, at every depth.
template <typename Parse>
void check_every_field(const json& whole, Parse parse) {
  const json fields = whole.flatten();
  for (const auto& [path, value] : fields.items()) {
    const json::json_pointer pointer(path);
    if (std::isdigit(static_cast<unsigned char>(path.back()))) continue;   // an element of a list may be missing
    INFO(path);
    json without = whole;
    without.at(pointer.parent_pointer()).erase(pointer.back());
    check_refused(without.dump(), parse);
    json mistyped = whole;
    mistyped[pointer] = of_another_type(value);
    check_refused(mistyped.dump(), parse);
    mistyped[pointer] = nullptr;
    check_refused(mistyped.dump(), parse);
  }
}

}  // namespace

TEST_CASE("an offer arrives as it was made", "[migrate][documents]") {
  const Offer offer = some_offer();
  const Offer read = offer_from_json(to_json(offer));
  CHECK(to_json(read) == to_json(offer));
  CHECK(read.options.downtime_max == 123ms);
  CHECK(read.options.freeze_timeout == 4567ms);
  CHECK(read.options.on_stall == OnStall::abort);
  CHECK(read.options.auto_converge);
  CHECK_FALSE(read.options.resumes);
  CHECK(read.options.keeps_partial);
  CHECK(read.options.timeout == 89s);
  CHECK(read.options.timeout_action == TimeoutAction::freeze);
  CHECK(read.options.tracker == TrackerKind::rescan);
  CHECK(read.options.compression == Compression::lz4);
  CHECK(read.options.verifies);
  CHECK(read.options.bandwidth_max == 1'000'000);
  CHECK(read.options.switchover_bandwidth_max == 2'000'000);
  CHECK(read.options.keep_source == 77s);
  CHECK(read.options.sample == 9s);
  CHECK(read.is_dry_run);
  CHECK(read.epoch == 3);
  CHECK(read.host.cpu_flags == std::vector<std::string>{"fpu", "avx2"});
}

TEST_CASE("answers and requests arrive as they were made", "[migrate][documents]") {
  CHECK(to_json(answer_from_json(to_json(some_answer()))) == to_json(some_answer()));
  CHECK(to_json(request_from_json(to_json(some_request()))) == to_json(some_request()));
  CHECK(request_from_json(to_json(some_request())).is_pull);
}

TEST_CASE("a field that is missing or of another type is refused, whichever it is", "[migrate][documents]") {
  check_every_field(json::parse(to_json(some_offer())), offer_from_json);
  check_every_field(json::parse(to_json(some_answer())), answer_from_json);
  check_every_field(json::parse(to_json(some_request())), request_from_json);
}

TEST_CASE("a number out of bounds is refused, whichever it is", "[migrate][documents]") {
  const json whole = json::parse(to_json(some_offer()));
  const auto limits = std::vector<std::pair<std::string, std::uint64_t>>{
      {"/volume_bytes", 1ULL << 50},       {"/used_bytes", 1ULL << 50},
      {"/memory_bytes", 1ULL << 50},       {"/checkpoint_bytes_max", 1ULL << 50},
      {"/options/rounds_max", 1000},       {"/options/downtime_max_ms", 24ULL * 3600 * 1000},
      {"/options/timeout_ms", 30ULL * 24 * 3600 * 1000},
      {"/options/sample_s", 3600},         {"/options/keep_source_s", 315'360'000},
      {"/options/freeze_timeout_ms", 24ULL * 3600 * 1000}};
  for (const auto& [path, max] : limits) {
    INFO(path);
    json changed = whole;
    changed[json::json_pointer(path)] = max;
    CHECK_NOTHROW(offer_from_json(changed.dump()));
    for (const json& bad : {json(max + 1), json(UINT64_MAX), json(-1), json(1.5), json(1e300)}) {
      changed[json::json_pointer(path)] = bad;
      check_refused(changed.dump(), offer_from_json);
    }
  }
}

TEST_CASE("a word that is no choice is refused", "[migrate][documents]") {
  for (const char* key : {"on_stall", "timeout_action", "tracker", "compression"})
    for (const json& bad : {json("banana"), json(""), json(17), json(nullptr), json::array()}) {
      json request = json::parse(to_json(some_request()));
      request["options"][key] = bad;
      INFO(key << " = " << bad);
      check_refused(request.dump(), request_from_json);
    }
}

TEST_CASE("what is no JSON object is refused", "[migrate][documents]") {
  for (const char* text : {"", "{", "[]", "null", "17", "\"offer\"", "{}", "{\"container\":\"\xff\"}", "{} {}"}) {
    INFO(text);
    check_refused(text, offer_from_json);
    check_refused(text, answer_from_json);
    check_refused(text, request_from_json);
  }
}

TEST_CASE("an offer nested as deeply as fits is refused, not followed", "[migrate][documents]") {
  check_refused(std::string(100'000, '['), offer_from_json);
  check_refused(std::string(100'000, '[') + std::string(100'000, ']'), offer_from_json);
}

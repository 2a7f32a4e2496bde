// SPDX-License-Identifier: GPL-2.0-or-later
// What is told about a migration, and to whom.
#include "migrate/report.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "migrate/printer.h"
#include "tests/catch.h"

using namespace vmigrate;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

MigrationReport some_report() {
  MigrationReport report;
  report.outcome = Outcome::migrated;
  report.container = "ct7";
  report.source = "alpha";
  report.destination = "beta (10.0.0.2:7700)";
  report.migration = {1, 2};
  report.tracker = "bpf";
  report.rounds.push_back({.round = 1, .blocks_dirty = 3, .data_bytes = 12288, .duration = 2s, .bytes_left = 4096});
  report.downtime.start(TimePoint(10s));
  report.downtime.lap("freeze", TimePoint(10s + 1500us));
  report.downtime.lap("dump", TimePoint(10s + 46ms));
  report.downtime.lap("hand-over", TimePoint(10s + 183ms));
  report.total = 3s;
  report.image_digest = Bits128{3, 4};
  return report;
}

}  // namespace

TEST_CASE("the parts of the downtime add up to the whole, without a gap", "[migrate][report]") {
  const Downtime downtime = some_report().downtime;
  Duration sum{};
  for (const auto& part : downtime.parts()) sum += part.duration;
  CHECK(sum == downtime.total());
  CHECK(downtime.total() == 183ms);
}

TEST_CASE("a second freeze starts the stopwatch anew", "[migrate][report]") {
  Downtime downtime = some_report().downtime;
  downtime.start(TimePoint(20s));
  CHECK(downtime.parts().empty());
  CHECK(downtime.total() == 0s);
}

TEST_CASE("the report as JSON has every figure, and its parts add up as well", "[migrate][report]") {
  const json out = to_json(some_report());
  CHECK(out["event"] == "report");
  CHECK(out["result"] == "migrated");
  CHECK(out["migration"] == "00000000000000020000000000000001");
  CHECK(out["image_digest"] == "00000000000000040000000000000003");
  CHECK(out["rounds"].size() == 1);
  CHECK_FALSE(out.contains("error"));
  double sum = 0;
  for (const auto& part : out["downtime"]["parts"]) sum += part["ms"].get<double>();
  CHECK(sum == Approx(out["downtime"]["total_ms"].get<double>()));
  CHECK(sum == Approx(183.0));
}

TEST_CASE("what was sent again is set against what was written meanwhile", "[migrate][report]") {
  MigrationReport report = some_report();
  CHECK(to_json(report)["dirtied_bytes"] == 0);
  CHECK(to_json(report)["resent_bytes"] == 0);
  CHECK(summary_of(to_json(report)).find("sent again") == std::string::npos);
  report.rounds.push_back({.round = 2, .blocks_dirty = 512, .data_bytes = 1 << 20, .zero_bytes = 4096});
  report.rounds.push_back({.round = 3, .blocks_dirty = 256, .data_bytes = 1 << 19});
  const json out = to_json(report);
  CHECK(out["dirtied_bytes"] == 768 * 4096);
  CHECK(out["resent_bytes"] == (1 << 20) + (1 << 19));
  CHECK(summary_of(out).find("  written meanwhile: 3.0 MiB; sent again: 1.5 MiB, 0.50 bytes per byte written\n") !=
        std::string::npos);
}

TEST_CASE("a failure is told as a word, a number and a sentence", "[migrate][report]") {
  MigrationReport report = some_report();
  report.outcome = Outcome::aborted;
  report.failure = Failure{Errc::no_space, "beta: no room"};
  report.image_digest.reset();
  const json out = to_json(report);
  CHECK(out["error"]["code"] == "no_space");
  CHECK(out["error"]["number"] == static_cast<int>(Errc::no_space));
  CHECK(out["error"]["message"] == "beta: no room");
  CHECK(out["image_digest"].is_null());
}

TEST_CASE("sizes and times are written as people read them", "[migrate][report]") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(1536) == "1.5 KiB");
  CHECK(format_bytes(3ULL << 30) == "3.0 GiB");
  CHECK(format_bytes(UINT64_MAX).ends_with("PiB"));
  CHECK(format_duration(1500us) == "1.5 ms");
  CHECK(format_duration(183ms) == "183 ms");
  CHECK(format_duration(2500ms) == "2.50 s");
}

TEST_CASE("the summary names the new host, the digest and every part", "[migrate][report]") {
  const std::string text = summary_of(to_json(some_report()));
  for (const char* word : {"ct7 now runs on beta", "freeze", "dump", "hand-over", "183.0 ms"}) {
    INFO(word << " in " << text);
    CHECK(text.find(word) != std::string::npos);
  }
}

TEST_CASE("an event of any shape gives a line or none", "[migrate][report]") {
  const std::vector<json> events = {
      {},
      17,
      json::array(),
      json::object(),
      {{"event", 17}},
      {{"event", "round"}},
      {{"event", "round"}, {"round", "one"}, {"seconds", nullptr}, {"is_final", "yes"}},
      {{"event", "round"}, {"round", 1e300}, {"wire_bytes", -5}},
      {{"event", "state"}, {"side", 1}, {"state", json::array()}},
      {{"event", "remark"}, {"message", 3}},
      {{"event", "report"}, {"result", "migrated"}, {"rounds", 3}, {"downtime", {{"parts", {1, 2}}}}},
      {{"event", "report"}, {"result", "predicted"}, {"rounds", {17}}, {"converges", "no"}}};
  for (const json& event : events) {
    INFO(event);
    CHECK_NOTHROW(line_of(event));
    CHECK_NOTHROW(summary_of(event));
  }
}

TEST_CASE("events as JSON are one line each, whatever bytes a peer put into them", "[migrate][report]") {
  std::ostringstream out;
  JsonPrinter printer(out);
  printer.report({{"event", "remark"}, {"message", "two\nlines and \xff"}});
  const std::string text = out.str();
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  CHECK(json::parse(text)["event"] == "remark");
}

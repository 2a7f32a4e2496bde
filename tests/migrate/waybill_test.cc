// SPDX-License-Identifier: GPL-2.0-or-later
// Waybills on the disk: what is written is read, and what is damaged starts nothing.
#include "migrate/waybill.h"

#include <fstream>

#include "base/error.h"
#include "base/log.h"
#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

Waybill some_waybill() {
  return {.side = Side::source,
          .migration = {7, 8},
          .peer = "beta",
          .peer_agent = "beta:7700",
          .offer = {.container = "ct7", .runtime = "runc", .config = "{}", .file_system = "ext4"},
          .bundle = "/bundles/ct7",
          .device = {"/dev/loop3", "/srv/ct7", "ext4", "/var/lib/ct7.img"}};
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  return text.replace(text.find(what), what.size(), by);
}

}  // namespace

TEST_CASE("a waybill survives the way to the disk and back, until it is removed", "[migrate][waybill]") {
  const TestDirectory directory;
  const WaybillDir waybills(directory.path() / "waybills");
  CHECK(waybills.list().empty());
  waybills.write(some_waybill());
  REQUIRE(waybills.list().size() == 1);
  CHECK(to_json(waybills.list()[0]) == to_json(some_waybill()));
  waybills.remove("ct7");
  waybills.remove("ct7");
  CHECK(waybills.list().empty());
}

TEST_CASE("a waybill knows what throttling has changed, if anything", "[migrate][waybill]") {
  CHECK_FALSE(waybill_from_json(to_json(some_waybill())).cpu_limit);
  Waybill waybill = some_waybill();
  waybill.cpu_limit = CpuLimit{"/sys/fs/cgroup/cpu/ct7", "-1", "100000"};
  const Waybill read = waybill_from_json(to_json(waybill));
  REQUIRE(read.cpu_limit);
  CHECK(read.cpu_limit->directory == "/sys/fs/cgroup/cpu/ct7");
  CHECK(read.cpu_limit->quota == "-1");
  CHECK(read.cpu_limit->period == "100000");
  CHECK_THROWS_AS(waybill_from_json(replaced(to_json(waybill), R"("quota":"-1")", R"("quota":-1)")), Error);
  CHECK_THROWS_AS(waybill_from_json(replaced(to_json(waybill), R"("quota")", R"("quoda")")), Error);
}

TEST_CASE("a waybill knows which earlier copy becomes the image; one of an earlier version knows of none",
          "[migrate][waybill]") {
  Waybill waybill = some_waybill();
  const std::string without = to_json(waybill);
  CHECK_FALSE(waybill_from_json(without).base);
  CHECK(without.find("base") == std::string::npos);
  waybill.base = KeptCopy{.container = "ct7", .migration = {5, 6}, .image = "/images/ct7.img.migrated-5"};
  const Waybill read = waybill_from_json(to_json(waybill));
  REQUIRE(read.base);
  CHECK(to_json(*read.base) == to_json(*waybill.base));
  CHECK_THROWS_AS(waybill_from_json(replaced(without, R"("side":)", R"("base":7,"side":)")), Error);
  CHECK_THROWS_AS(waybill_from_json(replaced(without, R"("side":)", R"("base":"{}","side":)")), Error);
}

TEST_CASE("a damaged waybill starts nothing", "[migrate][waybill]") {
  const std::string good = to_json(some_waybill());
  const std::vector<std::string> damaged = {
      "",
      good.substr(0, good.size() / 2),
      replaced(good, R"("side":"source")", R"("side":"sourcf")"),
      replaced(good, R"("side":"source")", R"("side":1)"),
      replaced(good, R"(\"container\":\"ct7\")", R"(\"container\":\"ct6\")"),
      replaced(good, R"(\"epoch\":0)", R"(\"epoch\":-1)"),
      replaced(good, "0000000000000007", "000000000000000g"),
  };
  set_log_level(LogLevel::none);
  for (const std::string& text : damaged) {
    INFO(text);
    const TestDirectory directory;
    std::ofstream(directory.path() / "ct7") << text;
    CHECK(WaybillDir(directory.path()).list().empty());
    CHECK(WaybillDir(directory.path()).damaged() == std::vector<std::string>{"ct7"});
  }
  set_log_level(LogLevel::error);
}

TEST_CASE("waybills of containers with similar names do not meet", "[migrate][waybill]") {
  const TestDirectory directory;
  const WaybillDir waybills(directory.path());
  for (const char* container : {"ct7", "ct7.new"}) {
    Waybill waybill = some_waybill();
    waybill.offer.container = container;
    waybills.write(waybill);
  }
  CHECK(waybills.list().size() == 2);
  CHECK(waybills.damaged().empty());
}

TEST_CASE("a note that is removed while others are read is no damaged one", "[migrate][waybill]") {
  const TestDirectory directory;
  const NoteDir notes(directory.path());
  for (const char* name : {"a", "b"}) notes.write({name, "text"});
  std::vector<std::string> read, bad;
  notes.for_each(
      [&](const Note& note) {
        read.push_back(note.name);
        notes.remove("b");
      },
      [&](const std::string& name, const std::exception&) { bad.push_back(name); });
  CHECK(read == std::vector<std::string>{"a"});
  CHECK(bad.empty());
}

TEST_CASE("a directory that cannot be listed is not one without waybills", "[migrate][waybill]") {
  const TestDirectory directory;
  std::ofstream(directory.path() / "file") << "no directory";
  CHECK_THROWS_AS(WaybillDir(directory.path() / "file").list(), Error);
  CHECK(WaybillDir(directory.path() / "missing").list().empty());
}

TEST_CASE("text that is no waybill is one kind of failure", "[migrate][waybill]") {
  for (const std::string& text : {std::string("{}"), std::string("["), replaced(to_json(some_waybill()), "07", "xx")}) {
    INFO(text);
    try {
      waybill_from_json(text);
      FAIL("it was read");
    } catch (const Error& error) {
      CHECK(error.code() == Errc::internal);
    }
  }
}

// SPDX-License-Identifier: GPL-2.0-or-later
// Who may run a container, by its journal: the gate before any start.
#include "migrate/standing.h"

#include <barrier>
#include <fstream>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

Standing standing_after(RecordType newest) {
  return {.container = "ct", .records = {{.type = newest, .migration = random_id(), .epoch = 2, .peer = "beta"}}};
}

/// Nothing if it may be started here.
std::optional<Errc> refusal(const Standing& standing) {
  try {
    check_may_run(standing);
  } catch (const Error& error) {
    return error.code_or(Errc::internal);
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("a container that was never migrated may be started", "[migrate][standing]") {
  const TestDirectory directory;
  const StateDir state(directory.path());
  CHECK(refusal(read_standing(state, "ct")) == std::nullopt);
}

TEST_CASE("only the host whose newest record says so may start a container", "[migrate][standing]") {
  for (const RecordType ours : {RecordType::own, RecordType::owned, RecordType::reclaimed})
    CHECK(refusal(standing_after(ours)) == std::nullopt);
  for (const RecordType theirs : {RecordType::released, RecordType::refused})
    CHECK(refusal(standing_after(theirs)) == Errc::not_owner);
}

TEST_CASE("while a gift is not settled nobody may start the container", "[migrate][standing]") {
  for (const RecordType undecided : {RecordType::given, RecordType::prepared})
    CHECK(refusal(standing_after(undecided)) == Errc::in_doubt);
}

TEST_CASE("a damaged journal starts nothing", "[migrate][standing]") {
  const TestDirectory directory;
  const StateDir state(directory.path());
  Journal(state.journals(), "ct").append({.type = RecordType::owned, .migration = random_id(), .peer = "beta"});
  std::filesystem::resize_file(state.journals() / "ct", 100);
  CHECK(refusal(read_standing(state, "ct")) == Errc::in_doubt);
}

TEST_CASE("a waybill that cannot be read starts nothing", "[migrate][standing]") {
  const TestDirectory directory;
  const StateDir state(directory.path());
  std::ofstream(state.waybills_path() / "ct") << "{";
  set_log_level(LogLevel::none);
  CHECK(refusal(read_standing(state, "ct")) == Errc::in_doubt);
  set_log_level(LogLevel::error);
}

TEST_CASE("of several processes that come first to a state directory all take the host for the same one",
          "[migrate][standing]") {
  constexpr std::size_t kComers = 8;
  const TestDirectory directory;
  std::vector<Bits128> ids(kComers);
  std::barrier start(kComers);
  {
    std::vector<std::jthread> comers;
    for (Bits128& id : ids)
      comers.emplace_back([&] {
        start.arrive_and_wait();
        id = StateDir(directory.path()).host_id();
      });
  }
  CHECK(ids == std::vector<Bits128>(kComers, StateDir(directory.path()).host_id()));
}

TEST_CASE("an id of this host that was lost is not made up", "[migrate][standing]") {
  const TestDirectory directory;
  std::ofstream(directory.path() / "host-id").flush();
  CHECK_THROWS_WITH(StateDir(directory.path()), (directory.path() / "host-id").native() +
                                                    " holds no id of this host; remove it, and a new one is made");
}

TEST_CASE("a journal that was not finished is nobody's", "[migrate][standing]") {
  const TestDirectory directory;
  const StateDir state(directory.path());
  std::ofstream(state.journals() / ".ct.Ab12Cd") << "half";
  CHECK(read_standings(state).empty());
}

TEST_CASE("a container that is on its way here may not be started before it is ours", "[migrate][standing]") {
  const TestDirectory directory;
  const StateDir state(directory.path());
  Waybill waybill{.side = Side::destination, .migration = random_id(), .peer = "alpha"};
  waybill.offer.container = "ct";
  state.waybills().write(waybill);
  CHECK(refusal(read_standing(state, "ct")) == Errc::not_owner);
}

TEST_CASE("a partial copy is shown, even where no record speaks of its container", "[migrate][standing]") {
  const TestDirectory directory;
  const StateDir state(directory.path());
  state.kept_copies().write({.container = "ct", .migration = {1, 2}, .image = "/ct.img.partial-1", .is_partial = true});
  const std::vector<Standing> standings = read_standings(state);
  REQUIRE(standings.size() == 1);
  CHECK(to_text(standings[0]).find("/ct.img.partial-1  partial") != std::string::npos);
  CHECK(to_json(standings[0])["kept"][0]["partial"] == true);
}

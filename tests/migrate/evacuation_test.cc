// SPDX-License-Identifier: GPL-2.0-or-later
// A host is emptied: who goes when, what a failure or a change of mind does to the others, and what is told.
#include "migrate/evacuation.h"

#include <boost/asio/detached.hpp>

#include "migrate/evacuation_printer.h"
#include "migrate/exit_code.h"
#include "tests/migrate/session_world.h"

using namespace vmigrate;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

Inventory containers(std::vector<std::string> names) {
  Inventory inventory;
  for (auto& name : names) inventory.entries.push_back({std::move(name)});
  return inventory;
}

/// Moves containers in simulated time: each takes a second for each letter of its name.
struct Removal {
  json evacuate(const Inventory& inventory, EvacuationPlan plan) {
    Evacuation evacuation({[this](std::string name, Progress& progress, Cancellation& one) {
                             return move(std::move(name), progress, one);
                           },
                           [this] { return look_again(); }, sim.clock(), events, cancellation},
                          inventory, plan);
    json summary;
    asio::co_spawn(sim.loop(), evacuation.run(), [&](std::exception_ptr thrown, json made) {
      REQUIRE_FALSE(thrown);
      summary = std::move(made);
    });
    REQUIRE(sim.run_until([&] { return !summary.is_null(); }));
    return summary;
  }

  Task<Inventory> look_again() {
    co_await sim.clock().sleep_for(10ms);
    if (has_agent_gone) throw Error(Errc::connect_failed, "alpha does not answer");
    co_return left;
  }

  Task<json> move(std::string name, Progress& progress, Cancellation& one) {
    started.push_back(name);
    most_at_once = std::max(most_at_once, ++at_once);
    progress.report({{"event", "round"}, {"round", 1}});
    const TimePoint end = sim.clock().now() + std::chrono::seconds(name.size());
    while (sim.clock().now() < end && !(one.is_requested() && is_cancellable)) co_await sim.clock().sleep_for(100ms);
    --at_once;
    was_told_to_leave = was_told_to_leave || one.is_shutting_down();
    json report = {{"event", "report"}, {"container", name}, {"destination", "beta"}, {"result", result_of[name]},
                   {"total_seconds", name.size()}, {"wire_bytes", 1000}, {"downtime", {{"total_ms", 250}}}};
    if (result_of[name].empty()) report["result"] = "migrated";
    if (one.is_requested() && is_cancellable) report["result"] = "aborted";
    if (report["result"] == "aborted")
      report["error"] = {{"code", name_of(reason)},
                         {"number", static_cast<int>(reason)},
                         {"message", "the disk of " + name}};
    co_return report;
  }
  void later(Duration delay, std::function<void()> step) {
    asio::co_spawn(sim.loop(), wait_and_do(delay, std::move(step)), asio::detached);
  }
  Task<> wait_and_do(Duration delay, std::function<void()> step) {
    co_await sim.clock().sleep_for(delay);
    step();
  }

  SimLoop sim;
  Events events;
  Cancellation cancellation;
  std::vector<std::string> started;
  std::map<std::string, std::string> result_of;   ///< others are migrated
  Errc reason = Errc::copy_failed;                ///< why they were not
  Inventory left;                                 ///< who is there in the end
  bool has_agent_gone = false;
  int at_once = 0;
  int most_at_once = 0;
  bool is_cancellable = true;
  bool was_told_to_leave = false;
};

std::string result_in(const json& summary, const std::string& container) {
  for (const json& row : summary.at("containers"))
    if (row.at("container") == container) return row.at("result");
  return "missing";
}

}  // namespace

TEST_CASE("the named ones go first, the others by name", "[migrate][evacuation]") {
  const Inventory inventory = containers({"d", "b", "a", "c"});
  const auto order = [&](std::vector<std::string> first) {
    const auto names = in_order(inventory, {.first = std::move(first)});
    return std::vector<std::string>(names.begin(), names.end());
  };
  CHECK(order({}) == std::vector<std::string>{"a", "b", "c", "d"});
  CHECK(order({"c", "a"}) == std::vector<std::string>{"c", "a", "b", "d"});
  CHECK(order({"c", "c"}) == std::vector<std::string>{"c", "a", "b", "d"});
  CHECK_THROWS_AS(order({"x"}), Error);
}

TEST_CASE("never more at once than allowed, and no place stays empty", "[migrate][evacuation]") {
  Removal removal;
  const json summary = removal.evacuate(containers({"a", "b", "c", "d", "e", "f", "g", "h"}), {.parallel = 3});
  CHECK(removal.most_at_once == 3);
  CHECK(removal.started.size() == 8);
  CHECK(summary.at("result") == "evacuated");
  CHECK(summary.at("moved") == 8);
  CHECK(summary.at("wire_bytes") == 8000);
  CHECK(summary.at("total_seconds") < 3.1);   // eight of a second each, three at once
  CHECK(exit_code_of_evacuation(summary) == 0);
}

TEST_CASE("what fails, and what cannot go, stops nobody else", "[migrate][evacuation]") {
  Removal removal;
  removal.result_of["b"] = "aborted";
  Inventory inventory = containers({"a", "b", "c"});
  inventory.entries.push_back({"plain", Failure{Errc::rootfs_not_on_device, "it is a plain directory"}});
  removal.left.entries = {inventory.entries[1], inventory.entries.back()};   // b, and what could not go
  const json summary = removal.evacuate(inventory, {.parallel = 1});
  CHECK(removal.started == std::vector<std::string>{"a", "b", "c"});
  CHECK(result_in(summary, "a") == "migrated");
  CHECK(result_in(summary, "b") == "aborted");
  CHECK(result_in(summary, "c") == "migrated");
  CHECK(result_in(summary, "plain") == "skipped");
  CHECK(summary.at("result") == "some_stayed");
  CHECK(summary.at("moved") == 2);
  CHECK(exit_code_of_evacuation(summary) == kExitSomeStayed);
}

TEST_CASE("a container that ends by itself before its turn does not stay", "[migrate][evacuation]") {
  Removal removal;
  removal.result_of["b"] = "aborted";
  removal.reason = Errc::unknown_container;
  const json summary = removal.evacuate(containers({"a", "b"}), {.parallel = 1});
  CHECK(result_in(summary, "b") == "ended");
  CHECK(summary.at("result") == "evacuated");
  CHECK(summary.at("moved") == 1);
}

TEST_CASE("a container that ended while somebody looked at it does not stay", "[migrate][evacuation]") {
  Removal removal;
  Inventory inventory = containers({"a"});
  inventory.entries.push_back({"b", Failure{Errc::rootfs_not_on_device, "it is a plain directory"}});
  const json summary = removal.evacuate(inventory, {.parallel = 1});
  CHECK(result_in(summary, "b") == "ended");
  CHECK(summary.at("result") == "evacuated");
}

TEST_CASE("a container that did not run at its turn and is there in the end stays", "[migrate][evacuation]") {
  Removal removal;
  removal.result_of["b"] = "aborted";
  removal.reason = Errc::container_not_running;
  removal.left = containers({"b"});
  const json summary = removal.evacuate(containers({"a", "b"}), {.parallel = 1});
  CHECK(result_in(summary, "b") == "aborted");
  CHECK(summary.at("result") == "some_stayed");
}

TEST_CASE("a container whose migration failed is not said to have ended by itself", "[migrate][evacuation]") {
  Removal removal;
  removal.result_of["b"] = "aborted";
  removal.reason = Errc::checkpoint_failed;
  const json summary = removal.evacuate(containers({"a", "b"}), {.parallel = 1});
  CHECK(result_in(summary, "b") == "aborted");
  CHECK(summary.at("result") == "some_stayed");
}

TEST_CASE("a host on which a container was started meanwhile is not called empty", "[migrate][evacuation]") {
  Removal removal;
  removal.left = containers({"new"});
  const json summary = removal.evacuate(containers({"a"}), {.parallel = 1});
  CHECK(result_in(summary, "a") == "migrated");
  CHECK(result_in(summary, "new") == "not_started");
  CHECK(summary.at("result") == "some_stayed");
  CHECK(exit_code_of_evacuation(summary) == kExitSomeStayed);
}

TEST_CASE("a container that went and is there again stays", "[migrate][evacuation]") {
  Removal removal;
  removal.left = containers({"a"});
  const json summary = removal.evacuate(containers({"a", "b"}), {.parallel = 1});
  CHECK(result_in(summary, "a") == "returned");
  CHECK(summary.at("moved") == 1);
  CHECK(summary.at("result") == "some_stayed");
}

TEST_CASE("a host that cannot be asked in the end is not called empty", "[migrate][evacuation]") {
  Removal removal;
  removal.has_agent_gone = true;
  const json summary = removal.evacuate(containers({"a"}), {.parallel = 1});
  CHECK(result_in(summary, "a") == "migrated");
  CHECK(summary.at("result") == "failed");
  CHECK(summary.at("error").at("code") == "connect_failed");
  CHECK(exit_code_of_evacuation(summary) == exit_code_of(Errc::connect_failed));
}

TEST_CASE("a host that cannot be asked in the end is not predicted to be empty", "[migrate][evacuation]") {
  Removal removal;
  removal.result_of["a"] = "predicted";
  removal.has_agent_gone = true;
  const json summary = removal.evacuate(containers({"a"}), {.parallel = 1});
  CHECK(result_in(summary, "a") == "predicted");
  CHECK(exit_code_of_evacuation(summary) == exit_code_of(Errc::connect_failed));
}

TEST_CASE("a host with containers that we may not see is not called empty", "[migrate][evacuation]") {
  Removal removal;
  Inventory inventory = containers({"a"});
  inventory.hidden = removal.left.hidden = 2;
  const json summary = removal.evacuate(inventory, {});
  CHECK(summary.at("moved") == 1);
  CHECK(exit_code_of_evacuation(summary) == kExitSomeStayed);
  CHECK(evacuation_table(summary).find("2 more run on") != std::string::npos);
}

TEST_CASE("a host without containers is evacuated", "[migrate][evacuation]") {
  Removal removal;
  const json summary = removal.evacuate({}, {});
  CHECK(summary.at("result") == "evacuated");
  CHECK(exit_code_of_evacuation(summary) == 0);
}

TEST_CASE("a cancellation reaches those under way, and nobody starts after it", "[migrate][evacuation]") {
  Removal removal;
  removal.later(1500ms, [&] { removal.cancellation.request(); });
  const json summary = removal.evacuate(containers({"a", "bbbb", "c", "dddd", "e"}), {.parallel = 2});
  CHECK(result_in(summary, "a") == "migrated");
  CHECK(result_in(summary, "bbbb") == "aborted");
  CHECK(result_in(summary, "c") == "aborted");
  CHECK(result_in(summary, "dddd") == "not_started");
  CHECK(removal.started.size() == 3);
  CHECK(summary.at("result") == "cancelled");
  CHECK(summary.at("total_seconds") < 2);
  CHECK(exit_code_of_evacuation(summary) == exit_code_of(Errc::cancelled));
  CHECK_FALSE(removal.was_told_to_leave);
}

TEST_CASE("a second signal lets go of those that cannot be cancelled any more", "[migrate][evacuation]") {
  Removal removal;
  removal.is_cancellable = false;
  removal.later(500ms, [&] { removal.cancellation.request(); });
  removal.later(600ms, [&] { removal.cancellation.shut_down(); });
  const json summary = removal.evacuate(containers({"a"}), {});
  CHECK(removal.was_told_to_leave);
  CHECK(exit_code_of_evacuation(summary) == 0);   // it went all the same
}

TEST_CASE("the worst that came of one is the exit code of all", "[migrate][evacuation]") {
  Removal removal;
  removal.result_of = {{"a", "in_doubt"}, {"b", "aborted"}};
  CHECK(exit_code_of_evacuation(removal.evacuate(containers({"a", "b", "c"}), {})) == kExitInDoubt);
  Removal untidy;
  untidy.result_of = {{"a", "cleanup_pending"}};
  CHECK(exit_code_of_evacuation(untidy.evacuate(containers({"a", "b"}), {})) == kExitCleanupPending);
  Removal dry;
  dry.result_of = {{"a", "predicted"}, {"b", "predicted"}};
  const json predicted = dry.evacuate(containers({"a", "b"}), {});
  CHECK(predicted.at("result") == "predicted");
  CHECK(exit_code_of_evacuation(predicted) == 0);
  CHECK(exit_code_of_evacuation(failed_evacuation({Errc::connect_failed, "nobody"})) ==
        exit_code_of(Errc::connect_failed));
}

TEST_CASE("every event carries its container's name, and each one's report is among them", "[migrate][evacuation]") {
  Removal removal;
  removal.evacuate(containers({"a", "b"}), {});
  std::map<std::string, int> reports;
  for (const json& event : removal.events.all) {
    CHECK_FALSE(text_in(event, "container").empty());
    if (text_in(event, "event") == "report") ++reports[event.at("container")];
  }
  CHECK(reports == std::map<std::string, int>{{"a", 1}, {"b", 1}});
}

TEST_CASE("the table has a row for each, and a sentence for each that stayed", "[migrate][evacuation]") {
  Removal removal;
  removal.result_of["b"] = "aborted";
  Inventory inventory = containers({"a", "b"});
  inventory.entries.push_back({"a-long-name", Failure{Errc::unsupported_container, "it has hooks"}});
  removal.left.entries = {inventory.entries[1], inventory.entries.back()};   // b, and what could not go
  json summary = removal.evacuate(inventory, {});
  summary["source"] = "alpha";
  summary["destination"] = "beta";
  CHECK(evacuation_table(summary) ==
        "  container    result               total  downtime     bytes\n"
        "  a            migrated            1.00 s    250 ms    1000 B\n"
        "  a-long-name  skipped                  -         -         -\n"
        "  b            aborted             1.00 s    250 ms    1000 B\n"
        "a-long-name: it has hooks\n"
        "b: the disk of b\n"
        "1 of 3 containers moved from alpha to beta in 1.00 s, 2.0 KiB over the wire\n");
  CHECK(evacuation_table(failed_evacuation({Errc::connect_failed, "nobody"})).empty());
  CHECK_NOTHROW(evacuation_table(json::array()));
  CHECK_NOTHROW(evacuation_table({{"containers", {1, {{"container", 7}, {"total_seconds", "x"}}}}}));
}

TEST_CASE("a line begins with the container that it is about", "[migrate][evacuation]") {
  std::ostringstream out;
  EvacuationPrinter printer(out);
  printer.report({{"event", "state"}, {"side", "source"}, {"state", "freezing"}, {"container", "a"}});
  printer.report({{"event", "report"}, {"container", "a"}, {"result", "migrated"}, {"destination", "beta"},
                  {"total_seconds", 2.5}});
  printer.report({{"event", "report"}, {"container", "b"}, {"result", "aborted"}, {"error", {{"message", "no room"}}}});
  CHECK(out.str() == "a:  frozen\na: now runs on beta, 2.50 s in all\nb: aborted: no room\n");
}

// SPDX-License-Identifier: GPL-2.0-or-later
// Every order of events that the transition tables allow between two hosts, with any number of crashes, failed writes
// and messages lost, late or doubled. docs/testing.md has the figures printed here, and is compared with them.
#include <chrono>
#include <iostream>

#include "tests/docs/source_tree.h"
#include "tests/model/search.h"
#include "tests/model/variants.h"

using namespace vmigrate;
using namespace vmigrate::model;

namespace {

#ifdef __OPTIMIZE__
constexpr int kAttemptsWithOperator = 3;
#else
constexpr int kAttemptsWithOperator = 2;   // a sanitizer would take minutes
#endif

/// 1234567 as "1,234,567".
std::string grouped(std::size_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

/// Prints a row of a table of docs/testing.md, which must have it.
void print_row(const std::vector<std::string>& cells) {
  std::string row = "|";
  for (const std::string& cell : cells) row.append(" ").append(cell).append(" |");
  std::cout << row << std::endl;
  INFO("docs/testing.md lacks: " << row);
  CHECK(tree::text_of("docs/testing.md").find(row + "\n") != std::string::npos);
}

Findings explore_and_print(const std::string& name, const Rules& rules) {
  const auto begin = std::chrono::steady_clock::now();
  const Findings findings = explore(rules);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  print_row({name, grouped(findings.states), grouped(findings.transitions), std::to_string(findings.depth),
             std::to_string(findings.violations_in_all()), std::to_string(findings.coverage.unused(rules).size())});
  std::cout << "took " << took.count() << " ms" << std::endl;
  INFO(findings.first_violation.text());
  for (int i = 0; i < kViolations; ++i) {
    INFO(name_of(static_cast<Violation>(i)));
    CHECK(findings.violations[i] == 0);
  }
  return findings;
}

void check_every_row_is_walked(const Findings& findings, const Rules& rules) {
  for (const std::string& row : findings.coverage.unused(rules)) FAIL_CHECK("never walked: " << row);
}

bool has_moved(const World& world, int attempt) {
  return world.attempts_started == attempt + 1 && world.source_of(attempt).is(SourceState::done) &&
         world.destination_of(attempt).is(DestinationState::done);
}

bool has_fault(const Trace& trace) {
  return std::any_of(trace.steps.begin(), trace.steps.end(), [](const Step& step) { return step.kind == Kind::fault; });
}

}  // namespace

TEST_CASE("whoever crashes and whatever is lost, at most one side runs the container, and in the end one does",
          "[model]") {
  const Rules one{.attempts = 1};
  const Rules two{.attempts = 2};
  const Rules three{.attempts = 3};
  explore_and_print("one attempt", one);
  explore_and_print("two attempts", two);
  const Findings findings = explore_and_print("three attempts", three);
  check_every_row_is_walked(findings, three);
}

TEST_CASE("an operator who stops the silent peer and reads its journal breaks nothing", "[model]") {
  explore_and_print("two attempts, and an operator", {.operator_is = Operator::careful, .attempts = 2});
  if (kAttemptsWithOperator == 3)
    explore_and_print("three attempts, and an operator", {.operator_is = Operator::careful, .attempts = 3});
}

TEST_CASE("the container can be moved there, home and there again", "[model]") {
  const auto there = shortest_way_to([](const World& world) { return has_moved(world, 0); }, {});
  REQUIRE(there);
  CHECK_FALSE(has_fault(*there));
  std::cout << "an undisturbed migration takes " << there->steps.size() << " steps" << std::endl;
  const auto home_and_there = [](const World& world) {
    return has_moved(world, 2) && world.attempts[1].source != kFirstOwner && world.attempts[2].source == kFirstOwner;
  };
  CHECK(shortest_way_to(home_and_there, {}));
}

TEST_CASE("every wrong variant of the rules is caught", "[model]") {
  for (const WrongRules& wrong : all_variants()) {
    INFO(wrong.name);
    const auto trace =
        shortest_way_to([&](const World& world) { return violation_in(world) == wrong.harm; }, wrong.rules);
    REQUIRE(trace);
    print_row({std::string(wrong.name), std::string(name_of(wrong.harm)), std::to_string(trace->steps.size())});
    std::cout << trace->text() << std::endl;
    if (wrong.variant == Variant::go_before_given_is_synced)
      CHECK(tree::fenced_block("docs/testing.md", "text", " 1  1: alpha starts an attempt") == trace->text());
  }
}

TEST_CASE("a row that is missing from a table is noticed", "[model]") {
  Rules rules{.attempts = 1};
  row_in(rules.source, SourceState::retracting, SourceEvent::refused).event = SourceEvent::accepted;
  CHECK(explore(rules).violations_of(Violation::no_such_row) > 0);
}

TEST_CASE("a session that can never end is noticed", "[model]") {
  Rules rules{.attempts = 1};
  row_in(rules.source, SourceState::in_doubt, SourceEvent::refused).to = SourceState::in_doubt;
  const Findings findings = explore(rules);
  CHECK(findings.violations_of(Violation::stuck) > 0);
  CHECK(findings.violations_of(Violation::stuck) == findings.violations_in_all());
}

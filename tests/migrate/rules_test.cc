// SPDX-License-Identifier: GPL-2.0-or-later
// Who may do what: the rules file of docs/rules.md.
#include "migrate/rules.h"

#include <sys/stat.h>

#include <fstream>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

constexpr const char* kText = R"(# of alpha
allow start   *      by   ops

allow send    web-*  to   beta.example.org   # only those
allow receive *      from BETA.example.org
  allow inspect db?  by   10.77.0.*
allow ask     old    by   gamma
)";

int line_allowing(const std::vector<std::string>& names, const Deed& deed) {
  const Rules rules = parse_rules(kText, "rules");
  const Rule* rule = rules.allowing(names, deed);
  return rule == nullptr ? 0 : rule->line;
}

std::string fault_of(const std::string& text) {
  try {
    parse_rules(text, "/etc/rules");
  } catch (const Error& error) {
    CHECK(error.code_or(Errc::internal) == Errc::usage);
    return error.what();
  }
  return "none";
}

std::string refusal_of(const RulesFile& file, const std::vector<std::string>& names, const Deed& deed) {
  try {
    file.require(names, deed);
  } catch (const Error& error) {
    CHECK(error.code_or(Errc::internal) == Errc::not_authorised);
    return error.what();
  }
  return "none";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A rules file that the test writes again and again.
class Book {
 public:
  void write(const std::string& text, mode_t mode = 0600) const {
    std::ofstream(path()) << text;
    REQUIRE(::chmod(path().c_str(), mode) == 0);
  }
  std::filesystem::path path() const { return directory_.path() / "rules"; }
  RulesFile file() const { return {path(), "alpha"}; }

 private:
  TestDirectory directory_;
};

}  // namespace

TEST_CASE("a star is any characters, a question mark one", "[migrate][rules]") {
  for (const auto& [pattern, text] : std::vector<std::pair<std::string, std::string>>{
           {"*", ""}, {"*", "web"}, {"web-*", "web-"}, {"web-*", "web-1"}, {"*-1", "web-1"}, {"w*b*1", "web-b-1"},
           {"db?", "db1"}, {"??", "ab"}, {"**", "ab"}, {"a*?", "ab"}, {"web", "web"}, {"*.*", "a.b.c"}})
    CHECK(matches(pattern, text));
  for (const auto& [pattern, text] : std::vector<std::pair<std::string, std::string>>{
           {"", "a"}, {"web", "web1"}, {"web", "we"}, {"web-*", "web"}, {"db?", "db"}, {"db?", "db12"}, {"*1", "12"},
           {"Web", "web"}, {"a*b", "a"}, {"?", ""}})
    CHECK_FALSE(matches(pattern, text));
}

TEST_CASE("a pattern with many stars is no trap", "[migrate][rules]") {
  std::string pattern;
  for (int i = 0; i < 60; ++i) pattern += "a*";
  CHECK_FALSE(matches(pattern + "b", std::string(255, 'a')));
}

TEST_CASE("a rule is about an action, a container and a host", "[migrate][rules]") {
  CHECK(line_allowing({"ops"}, {Action::start, "redis"}) == 2);
  CHECK(line_allowing({"beta.example.org"}, {Action::send, "web-1"}) == 4);
  CHECK(line_allowing({"beta.example.org"}, {Action::receive, "redis"}) == 5);
  CHECK(line_allowing({"beta.example.org"}, {Action::send, "redis"}) == 0);
  CHECK(line_allowing({"beta.example.org"}, {Action::start, "web-1"}) == 0);
  CHECK(line_allowing({"ops"}, {Action::send, "web-1"}) == 0);
  CHECK(line_allowing({"beta"}, {Action::send, "web-1"}) == 0);
}

TEST_CASE("any name of the certificate will do, in whatever case", "[migrate][rules]") {
  CHECK(line_allowing({"b.example.org", "Beta.Example.Org", "10.77.0.2"}, {Action::send, "web-1"}) == 4);
  CHECK(line_allowing({"b.example.org", "10.77.0.2"}, {Action::send, "web-1"}) == 0);
  CHECK(line_allowing({}, {Action::start, "redis"}) == 0);
}

TEST_CASE("what no rule allows is refused", "[migrate][rules]") {
  const Rules none;
  for (const ActionWords& words : kActions) {
    INFO(words.name);
    CHECK(none.allowing({"ops"}, {words.action, "redis"}) == nullptr);
    CHECK(line_allowing({"stranger"}, {words.action, "redis"}) == 0);
  }
}

TEST_CASE("whoever may do it may do a dry run of it, and inspect is a right to dry runs only", "[migrate][rules]") {
  CHECK(line_allowing({"ops"}, {Action::start, "redis", true}) == 2);
  CHECK(line_allowing({"beta.example.org"}, {Action::receive, "redis", true}) == 5);
  for (const Action action : {Action::start, Action::send, Action::receive}) {
    CHECK(line_allowing({"10.77.0.7"}, {action, "db1", true}) == 6);
    CHECK(line_allowing({"10.77.0.7"}, {action, "db1", false}) == 0);
    CHECK(line_allowing({"10.77.0.7"}, {action, "redis", true}) == 0);
  }
  CHECK(line_allowing({"beta.example.org"}, {Action::start, "web-1", true}) == 0);
}

TEST_CASE("whoever may send or receive a container may ask what became of it", "[migrate][rules]") {
  CHECK(line_allowing({"beta.example.org"}, {Action::ask, "web-1"}) == 4);
  CHECK(line_allowing({"beta.example.org"}, {Action::ask, "redis"}) == 5);
  CHECK(line_allowing({"gamma"}, {Action::ask, "old"}) == 7);
  CHECK(line_allowing({"gamma"}, {Action::ask, "new"}) == 0);
  CHECK(line_allowing({"ops"}, {Action::ask, "redis"}) == 0);
}

TEST_CASE("a faulty rule is named by file and line", "[migrate][rules]") {
  CHECK(fault_of("\n# fine\nallow send * to beta\nallow sned * to beta").starts_with("/etc/rules:4: \"sned\" is no "));
  CHECK(contains(fault_of("deny send * to beta"), "/etc/rules:1: \"deny\" begins no rule"));
  CHECK(contains(fault_of("allow"), "is no action"));
  CHECK(contains(fault_of("allow send * to"), "4 words where a rule has five; it is \"allow send CONTAINER to HOST\""));
  CHECK(contains(fault_of("allow send * to beta gamma"), "6 words"));
  CHECK(contains(fault_of("allow receive * to beta"), "it is \"allow receive CONTAINER from HOST\""));
  CHECK(contains(fault_of("allow send * from beta"), "it is \"allow send CONTAINER to HOST\""));
  CHECK(contains(fault_of("allow send web,db to beta"), "no container can be called \"web,db\""));
  CHECK(contains(fault_of("allow send web to beta/24"), "no host can be called \"beta/24\""));
  CHECK(fault_of("") == "none");
  CHECK(fault_of("# nothing\n\n   \t\n") == "none");
  CHECK(fault_of("allow send * to beta\r\n") == "none");
}

TEST_CASE("the line that a refusal names allows just that", "[migrate][rules]") {
  for (const ActionWords& words : kActions) {
    const Deed deed{words.action, "redis", words.action == Action::inspect};
    const std::string line = line_for("fd00::2", deed);
    INFO(line);
    const Rules rules = parse_rules(line, "rules");
    CHECK(rules.allowing({"fd00::2"}, deed) != nullptr);
    CHECK(rules.allowing({"fd00::3"}, deed) == nullptr);
    CHECK(rules.allowing({"fd00::2"}, {words.action, "redis2", deed.is_dry_run}) == nullptr);
  }
  CHECK(line_for("ops", {Action::start, "redis", true}) == "allow inspect redis by ops");
}

TEST_CASE("first rules allow nothing but what was asked for", "[migrate][rules]") {
  CHECK(parse_rules(first_rules("alpha", {}, {}), "rules").size() == 0);
  const Rules rules = parse_rules(first_rules("alpha", {"beta"}, {"ops"}), "rules");
  CHECK(rules.size() == 3);
  CHECK(rules.allowing({"beta"}, {Action::send, "redis"}) != nullptr);
  CHECK(rules.allowing({"beta"}, {Action::receive, "redis"}) != nullptr);
  CHECK(rules.allowing({"beta"}, {Action::start, "redis"}) == nullptr);
  CHECK(rules.allowing({"ops"}, {Action::start, "redis"}) != nullptr);
  CHECK(rules.allowing({"ops"}, {Action::send, "redis"}) == nullptr);
  CHECK_THROWS_AS(parse_rules(first_rules("alpha", {"be ta"}, {}), "rules"), Error);
}

TEST_CASE("without a rules file everybody is refused, with the line to add", "[migrate][rules]") {
  const Book book;
  const std::string refusal = refusal_of(book.file(), {"beta", "10.77.0.2"}, {Action::receive, "redis"});
  CHECK(contains(refusal, "the line \"allow receive redis from beta\" to " + book.path().string() + " on alpha"));
}

TEST_CASE("a change of the rules counts at once", "[migrate][rules]") {
  const Book book;
  const RulesFile file = book.file();
  CHECK(refusal_of(file, {"ops"}, {Action::start, "redis"}) != "none");
  book.write("allow start * by ops");
  CHECK(refusal_of(file, {"ops"}, {Action::start, "redis"}) == "none");
  book.write("allow start * by oops");
  CHECK(refusal_of(file, {"ops"}, {Action::start, "redis"}) != "none");
}

TEST_CASE("faulty rules, and rules that others may write, allow nothing", "[migrate][rules]") {
  const Book book;
  book.write("allow start * by ops\nallow everything");
  CHECK(contains(refusal_of(book.file(), {"ops"}, {Action::start, "redis"}), book.path().string() + ":2: "));
  CHECK_THROWS_AS(book.file().read(), Error);
  book.write("allow start * by ops", 0620);
  CHECK(contains(refusal_of(book.file(), {"ops"}, {Action::start, "redis"}), "chmod go-w"));
  book.write("allow start * by ops", 0644);
  CHECK(refusal_of(book.file(), {"ops"}, {Action::start, "redis"}) == "none");
}

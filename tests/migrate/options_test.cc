// SPDX-License-Identifier: GPL-2.0-or-later
// The command line: what it may say, and what is refused before anybody is contacted.
#include "migrate/options.h"

#include "base/error.h"
#include "migrate/host_facts.h"
#include "tests/catch.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

ParsedOptions parse(std::vector<std::string> words) {
  std::vector<const char*> argv = {"vmigrate"};
  for (const auto& word : words) argv.push_back(word.c_str());
  return std::get<ParsedOptions>(parse_options(static_cast<int>(argv.size()), argv.data()));
}

MigrateCommand parse_migration(std::vector<std::string> words) {
  return std::get<MigrateCommand>(parse(std::move(words)).command);
}

/// The failure's code; nothing if the words are accepted.
std::optional<Errc> refusal(std::vector<std::string> words) {
  try {
    parse(std::move(words));
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.code_or(Errc::internal);
  }
  return std::nullopt;
}

std::string help(std::vector<std::string> words) {
  std::vector<const char*> argv = {"vmigrate"};
  for (const auto& word : words) argv.push_back(word.c_str());
  return std::get<HelpText>(parse_options(static_cast<int>(argv.size()), argv.data())).text;
}

}  // namespace

TEST_CASE("three words are a migration with sensible defaults", "[migrate][options]") {
  const MigrateCommand command = parse_migration({"alpha", "beta:7701", "ct7"});
  CHECK(command.errand.source == "alpha");
  CHECK(command.errand.destination == "beta:7701");
  CHECK(command.errand.container == "ct7");
  CHECK_FALSE(command.errand.is_pull);
  CHECK_FALSE(command.errand.is_dry_run);
  CHECK_FALSE(command.is_json);
  CHECK(command.errand.options.downtime_max == 1s);
  CHECK(command.errand.options.freeze_timeout == 10s);
  CHECK(command.errand.options.rounds_max == 10);
  CHECK(command.errand.options.on_stall == OnStall::freeze);
  CHECK_FALSE(command.errand.options.auto_converge);
  CHECK(command.errand.options.timeout == 0s);
  CHECK(command.errand.options.timeout_action == TimeoutAction::cancel);
  CHECK(command.errand.options.tracker == TrackerKind::automatic);
  CHECK(command.errand.options.compression == Compression::automatic);
  CHECK(command.errand.options.bandwidth_max == 0);
  CHECK(command.errand.options.switchover_bandwidth_max == 0);
  CHECK_FALSE(command.errand.options.verifies);
  CHECK(command.errand.options.resumes);
  CHECK_FALSE(command.errand.options.keeps_partial);
}

TEST_CASE("a kept copy is removed before its time only by its full name", "[migrate][options]") {
  const auto purge = std::get<PurgeCommand>(parse({"purge", "ct7", "--copy", "0123"}).command);
  CHECK(purge.container == "ct7");
  CHECK(purge.migration == "0123");
  CHECK(std::get<PurgeCommand>(parse({"purge"}).command).container.empty());
  CHECK(refusal({"purge", "ct7"}) == Errc::usage);
  CHECK(refusal({"purge", "--copy", "0123"}) == Errc::usage);
}

TEST_CASE("every option arrives", "[migrate][options]") {
  const MigrateCommand command = parse_migration(
      {"--pull", "--dry-run", "--json", "--max-downtime", "250", "--freeze-timeout", "20", "--max-rounds", "7",
       "--on-stall", "abort", "--auto-converge", "--timeout", "90", "--timeout-action", "freeze", "--tracker", "rescan",
       "--compress", "lz4", "--bandwidth", "10M", "--switchover-bandwidth", "1G", "--verify",
       "--keep-source", "48", "--no-resume", "--keep-partial", "--sample", "3", "--tls-dir", "/t", "--state-dir", "/s",
       "--runtime", "crun", "alpha", "beta", "ct7"});
  const MigrationOptions& options = command.errand.options;
  CHECK(command.errand.is_pull);
  CHECK(command.errand.is_dry_run);
  CHECK(command.is_json);
  CHECK(options.downtime_max == 250ms);
  CHECK(options.freeze_timeout == 20s);
  CHECK(options.rounds_max == 7);
  CHECK(options.on_stall == OnStall::abort);
  CHECK(options.auto_converge);
  CHECK(options.timeout == 90s);
  CHECK(options.timeout_action == TimeoutAction::freeze);
  CHECK(options.tracker == TrackerKind::rescan);
  CHECK(options.compression == Compression::lz4);
  CHECK(options.bandwidth_max == 10ULL << 20);
  CHECK(options.switchover_bandwidth_max == 1ULL << 30);
  CHECK(options.verifies);
  CHECK(options.keep_source == 48h);
  CHECK(options.sample == 3s);
  CHECK_FALSE(options.resumes);
  CHECK(options.keeps_partial);
  CHECK(command.host.tls_dir == "/t");
  CHECK(command.host.state_dir == "/s");
  CHECK(command.host.runtime == "crun");
}

TEST_CASE("a name that no container can have is refused", "[migrate][options]") {
  const std::vector<std::string> names = {"a/b",
                                          "/",
                                          "..",
                                          "../etc",
                                          "a..b",
                                          ".hidden",
                                          "a b",
                                          "a\nb",
                                          "ct;rm",
                                          "$(id)",
                                          "ü",
                                          std::string(201, 'x'),
                                          std::string(300, 'x')};
  for (const auto& name : names) {
    INFO(name);
    CHECK(refusal({"alpha", "beta", name}) == Errc::invalid_name);
  }
  CHECK(refusal({"alpha", "beta", "--", "-rf"}) == Errc::invalid_name);
  CHECK_FALSE(refusal({"alpha", "beta", std::string(200, 'x')}).has_value());
}

TEST_CASE("an empty or missing word is a usage error", "[migrate][options]") {
  CHECK(refusal({}) == Errc::usage);
  CHECK(refusal({"alpha", "beta"}) == Errc::usage);
  CHECK(refusal({"alpha", "beta", "ct7", "more"}) == Errc::usage);
  CHECK(refusal({"alpha", "beta", ""}) == Errc::usage);
}

TEST_CASE("an option that does not exist, or a value it cannot have, is a usage error", "[migrate][options]") {
  const std::vector<std::vector<std::string>> bad = {{"--unknown"},
                                                     {"-x"},
                                                     {"--max-downtime", "0"},
                                                     {"--max-downtime", "-5"},
                                                     {"--max-downtime", "soon"},
                                                     {"--max-downtime", "99999999999"},
                                                     {"--freeze-timeout", "0"},
                                                     {"--max-rounds", "0"},
                                                     {"--max-rounds", "1001"},
                                                     {"--on-stall", "panic"},
                                                     {"--timeout", "-1"},
                                                     {"--timeout-action", "panic"},
                                                     {"--tracker", "magic"},
                                                     {"--compress", "zip"},
                                                     {"--bandwidth", "fast"},
                                                     {"--bandwidth", "-1"},
                                                     {"--switchover-bandwidth", "-1"},
                                                     {"--sample", "0"},
                                                     {"--keep-source", "-1"},
                                                     {"--runtime", "docker"}};
  for (auto words : bad) {
    INFO(words[0] << " " << (words.size() > 1 ? words[1] : ""));
    words.insert(words.end(), {"alpha", "beta", "ct7"});
    CHECK(refusal(words) == Errc::usage);
  }
}

TEST_CASE("a host that is no host is a usage error", "[migrate][options]") {
  for (const char* host : {"alpha:0", "alpha:65536", "alpha:port", ":7700", "[::1", ""}) {
    INFO(host);
    CHECK(refusal({host, "beta", "ct7"}) == Errc::usage);
    CHECK(refusal({"beta", host, "ct7"}) == Errc::usage);
  }
}

TEST_CASE("source and destination must differ", "[migrate][options]") {
  CHECK(refusal({"alpha", "alpha", "ct7"}) == Errc::same_host);
  CHECK(refusal({"localhost", "localhost", "ct7"}) == Errc::same_host);
  CHECK(refusal({"localhost", host_name(), "ct7"}) == Errc::same_host);
}

TEST_CASE("--pull with a source that has no agent is a usage error", "[migrate][options]") {
  CHECK(refusal({"--pull", "localhost", "beta", "ct7"}) == Errc::usage);
  CHECK_FALSE(refusal({"--pull", "alpha", "localhost", "ct7"}).has_value());
}

TEST_CASE("--all takes two hosts, and how many go at once and who goes first", "[migrate][options]") {
  const auto all = std::get<EvacuateCommand>(parse({"--all", "--bandwidth", "10M", "alpha", "beta"}).command);
  CHECK(all.each.errand.source == "alpha");
  CHECK(all.each.errand.destination == "beta");
  CHECK(all.each.errand.container.empty());
  CHECK(all.each.errand.options.bandwidth_max == 10ULL << 20);
  CHECK(all.plan.parallel == 3);
  CHECK(all.plan.first.empty());
  const auto some = std::get<EvacuateCommand>(
      parse({"--all", "--parallel", "5", "--first", "db,web", "--dry-run", "--json", "alpha", "beta"}).command);
  CHECK(some.plan.parallel == 5);
  CHECK(some.plan.first == std::vector<std::string>{"db", "web"});
  CHECK(some.each.errand.is_dry_run);
  CHECK(some.each.is_json);
  CHECK(refusal({"--all", "alpha"}) == Errc::usage);
  CHECK(refusal({"--all", "alpha", "beta", "ct7"}) == Errc::usage);
  CHECK(refusal({"--all", "alpha", "alpha"}) == Errc::same_host);
  CHECK(refusal({"--all", "--pull", "localhost", "beta"}) == Errc::usage);
  CHECK(refusal({"--all", "--parallel", "0", "alpha", "beta"}) == Errc::usage);
  CHECK(refusal({"--all", "--parallel", "9", "alpha", "beta"}) == Errc::usage);
  CHECK(refusal({"--all", "--first", "../db", "alpha", "beta"}) == Errc::invalid_name);
  CHECK(refusal({"--parallel", "2", "alpha", "beta", "ct7"}) == Errc::usage);
  CHECK(refusal({"--first", "db", "alpha", "beta", "ct7"}) == Errc::usage);
}

TEST_CASE("the other commands have their own words", "[migrate][options]") {
  CHECK(std::get<ServeCommand>(parse({"serve", "--listen", "10.0.0.1:7700"}).command).listen == "10.0.0.1:7700");
  CHECK(refusal({"serve"}) == Errc::usage);
  CHECK(std::holds_alternative<StatesCommand>(parse({"states"}).command));
  CHECK(std::get<PkiInitCommand>(parse({"pki", "init", "--ca-dir", "/ca"}).command).ca_dir == "/ca");
  const auto issue = std::get<PkiIssueCommand>(
      parse({"pki", "issue", "alpha", "--ca-dir", "/ca", "--tls-dir", "/tls", "--san", "IP:10.0.0.1", "--days", "30"})
          .command);
  CHECK(issue.request.host == "alpha");
  CHECK(issue.request.alternatives == std::vector<std::string>{"IP:10.0.0.1"});
  CHECK(issue.request.valid_days == 30);
  CHECK(issue.peers.empty());
  CHECK(refusal({"pki"}) == Errc::usage);
  const auto first_rules = std::get<PkiIssueCommand>(parse({"pki", "issue", "alpha", "--ca-dir", "/ca", "--tls-dir",
                                                            "/tls", "--peer", "beta", "--peer", "gamma", "--operator",
                                                            "ops"}).command);
  CHECK(first_rules.peers == std::vector<std::string>{"beta", "gamma"});
  CHECK(first_rules.operators == std::vector<std::string>{"ops"});
  CHECK(std::get<ServeCommand>(parse({"serve", "--listen", "x", "--rules", "/r"}).command).rules == "/r");
  const auto rules = std::get<RulesCommand>(parse({"rules", "/r", "beta", "send", "ct7"}).command);
  CHECK(rules.file == "/r");
  CHECK(rules.host == "beta");
  CHECK(rules.action == "send");
  CHECK(rules.container == "ct7");
  CHECK(std::get<RulesCommand>(parse({"rules", "/r"}).command).host.empty());
  CHECK(refusal({"rules"}) == Errc::usage);
  CHECK(refusal({"rules", "/r", "beta", "send"}) == Errc::usage);
  const auto create =
      std::get<ImageCreateCommand>(parse({"image", "create", "--from", "/r", "--size", "2G", "x.img"}).command);
  CHECK(create.request.bytes == 2ULL << 30);
  CHECK(refusal({"image", "create", "--from", "/r", "x.img"}) == Errc::usage);
}

TEST_CASE("help and version are answers, not failures", "[migrate][options]") {
  CHECK(help({"--help"}).find("--max-downtime") != std::string::npos);
  CHECK(help({"--version"}).starts_with("vmigrate "));
  CHECK_FALSE(help({"serve", "--help"}).empty());
}

TEST_CASE("-v is counted", "[migrate][options]") {
  CHECK(parse({"alpha", "beta", "ct7"}).verbosity == 0);
  CHECK(parse({"-v", "-v", "alpha", "beta", "ct7"}).verbosity == 2);
}

TEST_CASE("set names a source, a container and at least one rate", "[migrate][options]") {
  const auto set = std::get<SetCommand>(parse({"set", "alpha:7701", "ct7", "--bandwidth", "10M"}).command);
  CHECK(set.source == "alpha:7701");
  CHECK(set.change.container == "ct7");
  CHECK(set.change.bandwidth_max == 10ULL << 20);
  CHECK_FALSE(set.change.switchover_bandwidth_max);
  CHECK_FALSE(set.is_json);
  const auto frozen =
      std::get<SetCommand>(parse({"set", "--switchover-bandwidth", "0", "--json", "alpha", "ct7"}).command);
  CHECK_FALSE(frozen.change.bandwidth_max);
  CHECK(frozen.change.switchover_bandwidth_max == 0);
  CHECK(frozen.is_json);
}

TEST_CASE("set refuses what makes no sense before anybody is contacted", "[migrate][options]") {
  CHECK(refusal({"set", "alpha", "ct7"}) == Errc::usage);
  CHECK(refusal({"set", "alpha", "--bandwidth", "1"}) == Errc::usage);
  CHECK(refusal({"set", "alpha", "ct7", "--bandwidth", "-1"}) == Errc::usage);
  CHECK(refusal({"set", "alpha", "ct7", "--bandwidth", "fast"}) == Errc::usage);
  CHECK(refusal({"set", "alpha", "ct7", "beta", "--bandwidth", "1"}) == Errc::usage);
  CHECK(refusal({"set", "localhost", "ct7", "--bandwidth", "1"}) == Errc::usage);
  CHECK(refusal({"set", "alpha", "../ct7", "--bandwidth", "1"}) == Errc::invalid_name);
}

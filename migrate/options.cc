// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/options.h"

#include <CLI/CLI.hpp>
#include <map>

namespace vmigrate {
namespace {

const std::map<std::string, OnStall> kOnStall = {{"freeze", OnStall::freeze}, {"abort", OnStall::abort}};
const std::map<std::string, TimeoutAction> kTimeoutActions = {{"cancel", TimeoutAction::cancel},
                                                              {"freeze", TimeoutAction::freeze}};
const std::map<std::string, TrackerKind> kTrackers = {
    {"auto", TrackerKind::automatic}, {"bpf", TrackerKind::bpf}, {"rescan", TrackerKind::rescan}};
const std::map<std::string, Compression> kCompressions = {
    {"auto", Compression::automatic},
    {"none", Compression::none},
    {"lz4", Compression::lz4},
    {"zstd", Compression::zstd}};

/// Everything CLI11 writes into, in one place that outlives the parse.
struct Storage {
  MigrateCommand migrate;
  EvacuationPlan plan;
  bool is_all = false;
  SetCommand set;
  ServeCommand serve;
  PkiInitCommand pki_init;
  PkiIssueCommand pki_issue;
  RulesCommand rules;
  ImageCreateCommand image_create;
  ImageDigestCommand image_digest;
  StatusCommand status;
  MayRunCommand may_run;
  PurgeCommand purge;
  RecoverCommand recover;
  JournalCommand journal;
  ResolveCommand resolve;
  std::int64_t recover_timeout_s = 60;
  std::int64_t downtime_max_ms = 1000;
  std::int64_t freeze_timeout_s = 10;
  std::int64_t timeout_s = 0;
  std::int64_t keep_source_h = 24;
  std::int64_t sample_s = 5;
  int verbosity = 0;
};

/// Before the size is read: a negative one would wrap around.
const CLI::Validator kNotNegative(
    [](std::string& text) { return text.starts_with('-') ? std::string("a size is not negative") : std::string(); },
    "");

void add_host_options(CLI::App& app, HostOptions& host) {
  app.add_option("--tls-dir", host.tls_dir,
                 "directory of ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem")
      ->capture_default_str();
  app.add_option("--state-dir", host.state_dir, "where images, bundles and journals are kept")->capture_default_str();
  app.add_option("--runtime", host.runtime, "runc, crun, or auto: whichever knows the container")
      ->check(CLI::IsMember({"auto", "runc", "crun"}))
      ->capture_default_str();
}

void add_migrate_options(CLI::App& app, Storage& storage) {
  Errand& errand = storage.migrate.errand;
  MigrationOptions& options = errand.options;
  app.add_option("SRC", errand.source, "host that runs the container: HOST, HOST:PORT, or localhost");
  app.add_option("DST", errand.destination, "host that shall run it");
  app.add_option("CTID", errand.container, "the container's id as its runtime knows it");
  app.add_flag("--pull", errand.is_pull, "the destination dials the source");
  app.add_flag("--dry-run", errand.is_dry_run, "check and measure everything, predict, change nothing");
  app.add_flag("--json", storage.migrate.is_json, "one JSON event per line on stdout, ending in the report");
  app.add_option("--max-downtime", storage.downtime_max_ms, "freeze as soon as the estimated downtime fits, in ms")
      ->check(CLI::Range(1, 24 * 3600 * 1000))->capture_default_str();
  app.add_option("--freeze-timeout", storage.freeze_timeout_s, "roll back if the freeze lasts longer, in s")
      ->check(CLI::Range(1, 24 * 3600))->capture_default_str();
  app.add_option("--max-rounds", options.rounds_max, "rounds before --on-stall applies")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--on-stall", options.on_stall, "what to do when it does not converge: freeze or abort")
      ->transform(CLI::CheckedTransformer(kOnStall))->default_str("freeze");
  app.add_flag("--auto-converge", options.auto_converge,
               "give a container that does not converge less CPU time, step by step, before --on-stall applies");
  app.add_option("--timeout", storage.timeout_s, "--timeout-action applies if it is not frozen by then, in s; 0: none")
      ->check(CLI::Range(0, 30 * 24 * 3600))->capture_default_str();
  app.add_option("--timeout-action", options.timeout_action, "cancel, or freeze if the rest fits --freeze-timeout")
      ->transform(CLI::CheckedTransformer(kTimeoutActions))->default_str("cancel");
  app.add_option("--tracker", options.tracker, "how writes are remembered: auto, bpf or rescan")
      ->transform(CLI::CheckedTransformer(kTrackers))->default_str("auto");
  app.add_option("--compress", options.compression, "auto, none, lz4 or zstd")
      ->transform(CLI::CheckedTransformer(kCompressions))->default_str("auto");
  app.add_option("--bandwidth", options.bandwidth_max, "limit while it runs, in bytes per second, with K, M or G")
      ->transform(CLI::AsSizeValue(false))->transform(kNotNegative);
  app.add_option("--switchover-bandwidth", options.switchover_bandwidth_max,
                 "limit while it stands still; default: none")
      ->transform(CLI::AsSizeValue(false))->transform(kNotNegative);
  app.add_option("--streams", options.streams, "connections for the image; 0: as many as help")
      ->check(CLI::Range(0U, kStreamsMax))
      ->capture_default_str();
  app.add_flag("--verify", options.verifies, "while frozen, both sides read the whole image again and compare");
  app.add_option("--keep-source", storage.keep_source_h, "how long the source keeps its copy, renamed, in hours")
      ->check(CLI::Range(0, 87600))
      ->capture_default_str();
  app.add_flag_callback("--no-resume", [&options] { options.resumes = false; },
                        "send everything, even if the destination has an earlier copy");
  app.add_flag("--keep-partial", options.keeps_partial,
               "keep what has arrived for the next attempt even if this one is cancelled");
  app.add_option("--sample", storage.sample_s, "dry run: how long writes are watched, in s")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  add_host_options(app, storage.migrate.host);
}

void add_evacuation(CLI::App& app, Storage& storage) {
  CLI::Option* all = app.add_flag("--all", storage.is_all, "every container that runs on SRC: vmigrate --all SRC DST");
  app.add_option("--parallel", storage.plan.parallel, "with --all: how many at once; --bandwidth is for all of them")
      ->check(CLI::Range(1U, kParallelMax))->capture_default_str()->needs(all);
  app.add_option("--first", storage.plan.first, "with --all: CTID[,CTID...], the ones to begin with")
      ->delimiter(',')->allow_extra_args(false)->needs(all);
}

void add_set(CLI::App& app, SetCommand& set) {
  CLI::App* command = app.add_subcommand("set", "change how fast a migration that is under way sends");
  command->add_option("HOST", set.source, "host that the container leaves: HOST or HOST:PORT")->required();
  command->add_option("CTID", set.change.container, "the container")->required();
  command->add_option("--bandwidth", set.change.bandwidth_max, "as in a migration; 0: no limit")
      ->transform(CLI::AsSizeValue(false))->transform(kNotNegative);
  command->add_option("--switchover-bandwidth", set.change.switchover_bandwidth_max,
                      "as in a migration; 0: no limit")
      ->transform(CLI::AsSizeValue(false))->transform(kNotNegative);
  command->add_flag("--json", set.is_json, "the answer as one JSON object");
  add_host_options(*command, set.host);
}

void add_pki(CLI::App& app, Storage& storage) {
  CLI::App* pki = app.add_subcommand("pki", "a small certificate authority")->require_subcommand(1);
  CLI::App* init = pki->add_subcommand("init", "make a certificate authority");
  init->add_option("--ca-dir,--tls-dir", storage.pki_init.ca_dir, "where ca-cert.pem and ca-key.pem go")->required();
  CLI::App* issue = pki->add_subcommand("issue", "issue one host's certificates");
  issue->add_option("HOST", storage.pki_issue.request.host, "the host's name or address")->required();
  issue->add_option("--ca-dir", storage.pki_issue.ca_dir, "directory of ca-cert.pem and ca-key.pem")->required();
  issue->add_option("--tls-dir", storage.pki_issue.tls_dir, "where the host's files go")->required();
  issue->add_option("--san", storage.pki_issue.request.alternatives, "further names: DNS:name or IP:address")
      ->take_all();
  issue->add_option("--peer", storage.pki_issue.peers, "for its first rules: containers may go to that host, and come")
      ->take_all();
  issue->add_option("--operator", storage.pki_issue.operators, "for its first rules: that host may start migrations")
      ->take_all();
  issue->add_option("--days", storage.pki_issue.request.valid_days, "validity")
      ->check(CLI::Range(1, 36500))
      ->capture_default_str();
}

void add_rules(CLI::App& app, RulesCommand& rules) {
  CLI::App* command = app.add_subcommand("rules", "check a rules file, or ask what it allows");
  command->add_option("FILE", rules.file, "the file")->required();
  CLI::Option* host = command->add_option("HOST", rules.host, "a name in a certificate");
  CLI::Option* action = command->add_option("ACTION", rules.action, "start, send, receive, inspect or ask");
  CLI::Option* container = command->add_option("CTID", rules.container, "the container");
  host->needs(action, container);
  action->needs(host);
  command->add_flag("--dry-run", rules.is_dry_run, "only to look and measure");
}

void add_image(CLI::App& app, Storage& storage) {
  CLI::App* image = app.add_subcommand("image", "images of root file systems")->require_subcommand(1);
  CLI::App* create = image->add_subcommand("create", "make an ext4 image from a directory or tar archive");
  create->add_option("--from", storage.image_create.request.from, "directory or tar archive")->required();
  create->add_option("--size", storage.image_create.request.bytes, "size of the file system, with K, M, G or T")
      ->transform(CLI::AsSizeValue(false))->transform(kNotNegative)->required();
  create->add_option("IMAGE", storage.image_create.request.image, "the new file")->required();
  CLI::App* digest = image->add_subcommand("digest", "print the digest of an image that nobody writes, as in reports");
  digest->add_option("IMAGE", storage.image_digest.image, "a raw image or block device")->required();
}

void add_status(CLI::App& app, Storage& storage) {
  CLI::App* status = app.add_subcommand("status", "who may run each container, here and by the other host's word");
  status->add_option("CTID", storage.status.container, "only this one");
  status->add_flag("--json", storage.status.is_json, "a JSON list");
  add_host_options(*status, storage.status.host);
  CLI::App* may_run = app.add_subcommand("may-run", "the gate before any start: 0 if this host may run the container");
  may_run->add_option("CTID", storage.may_run.container, "the container")->required();
  add_host_options(*may_run, storage.may_run.host);
  CLI::App* purge = app.add_subcommand("purge", "remove the kept copies whose time is over, as the agent does");
  CLI::Option* container = purge->add_option("CTID", storage.purge.container, "only of this container, and at once");
  purge->add_option("--copy", storage.purge.migration, "the migration's id, as `vmigrate status` shows it")
      ->needs(container);
  add_host_options(*purge, storage.purge.host);
  CLI::App* journal = app.add_subcommand("journal", "read a journal, also on the disk of a dead host");
  journal->require_subcommand(1);
  for (const char* verb : {"show", "verify"})
    journal->add_subcommand(verb, std::string(verb) == "show" ? "print its records" : "say if it can be trusted")
        ->add_option("FILE", storage.journal.file, "STATE-DIR/journal/CTID")
        ->required();
}

void add_recovery(CLI::App& app, Storage& storage) {
  CLI::App* recover = app.add_subcommand("recover", "end what a command or agent that died here left unfinished");
  recover->add_option("--timeout", storage.recover_timeout_s, "how long the other host is asked, in s")
      ->check(CLI::Range(1, 24 * 3600))->capture_default_str();
  add_host_options(*recover, storage.recover.host);
  CLI::App* resolve = app.add_subcommand("resolve", "decide for a host that never comes back");
  resolve->add_option("CTID", storage.resolve.container, "the container")->required();
  ResolveCommand& command = storage.resolve;
  CLI::App* word = resolve->add_option_group("decision")->require_option(1);
  word->add_flag_callback("--take-back", [&command] { command.word = HumanWord::take_back; },
                          "on the source: it never ran there; needs --peer-journal");
  word->add_flag_callback("--accept", [&command] { command.word = HumanWord::accept; },
                          "on the destination: it was given to us; needs --peer-journal");
  word->add_flag_callback("--discard-mine", [&command] { command.word = HumanWord::discard_mine; },
                          "on the destination: it will never run here");
  resolve->add_option("--peer-journal", command.peer_journal,
                      "the other host's journal of it, copied while that host is stopped");
  add_host_options(*resolve, command.host);
}

/// CLI11 lets positionals be absent when a subcommand is given, so their presence is checked here.
void require_positionals(const Errand& errand) {
  if (errand.source.empty() || errand.destination.empty() || errand.container.empty())
    throw Error(Errc::usage, "SRC, DST and CTID are needed: vmigrate SRC DST CTID; see vmigrate --help");
}

EvacuateCommand evacuation(const Storage& storage) {
  const Errand& errand = storage.migrate.errand;
  if (errand.source.empty() || errand.destination.empty() || !errand.container.empty())
    throw Error(Errc::usage, "with --all SRC and DST are needed, and no more: vmigrate --all SRC DST");
  check_hosts(errand);
  for (const auto& container : storage.plan.first) check_container_id(container);
  return {storage.migrate, storage.plan};
}

SetCommand checked(const SetCommand& set) {
  if (!set.change.bandwidth_max && !set.change.switchover_bandwidth_max)
    throw Error(Errc::usage, "nothing to set: --bandwidth or --switchover-bandwidth is needed");
  check_container_id(set.change.container);
  if (set.source == "localhost")
    throw Error(Errc::usage, "a migration that a command does for localhost cannot be changed; name this host as its "
                             "agent's certificate does");
  parse_endpoint(set.source);
  return set;
}

/// Removing at once takes saying what.
PurgeCommand checked(const PurgeCommand& purge) {
  if (purge.container.empty() == purge.migration.empty()) return purge;
  throw Error(Errc::usage, "to remove a copy before its time name it: vmigrate purge CTID --copy MIGRATION; "
                           "`vmigrate status CTID` lists them");
}

CommandLine chosen(const CLI::App& app, Storage& storage) {
  if (app.got_subcommand("set")) return checked(storage.set);
  if (app.got_subcommand("serve")) return storage.serve;
  if (app.got_subcommand("states")) return StatesCommand{};
  if (app.got_subcommand("status")) return storage.status;
  if (app.got_subcommand("may-run")) return storage.may_run;
  if (app.got_subcommand("purge")) return checked(storage.purge);
  if (app.got_subcommand("resolve")) return storage.resolve;
  if (app.got_subcommand("recover")) {
    storage.recover.timeout = std::chrono::seconds(storage.recover_timeout_s);
    return storage.recover;
  }
  if (app.got_subcommand("journal")) {
    storage.journal.is_shown = app.get_subcommand("journal")->got_subcommand("show");
    return storage.journal;
  }
  if (app.got_subcommand("rules")) return storage.rules;
  if (app.got_subcommand("pki")) {
    if (app.get_subcommand("pki")->got_subcommand("init")) return storage.pki_init;
    return storage.pki_issue;
  }
  if (app.got_subcommand("image")) {
    if (app.get_subcommand("image")->got_subcommand("create")) return storage.image_create;
    return storage.image_digest;
  }
  MigrationOptions& options = storage.migrate.errand.options;
  options.downtime_max = std::chrono::milliseconds(storage.downtime_max_ms);
  options.freeze_timeout = std::chrono::seconds(storage.freeze_timeout_s);
  options.timeout = std::chrono::seconds(storage.timeout_s);
  options.keep_source = std::chrono::hours(storage.keep_source_h);
  options.sample = std::chrono::seconds(storage.sample_s);
  if (storage.is_all) return evacuation(storage);
  require_positionals(storage.migrate.errand);
  check_errand(storage.migrate.errand);
  return storage.migrate;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

std::variant<ParsedOptions, HelpText> parse_options(int argc, const char* const* argv) {
  Storage storage;
  CLI::App app("Moves a running container to another host: vmigrate SRC DST CTID", "vmigrate");
  app.set_version_flag("--version", "vmigrate " VMIGRATE_VERSION);
  app.add_flag("-v,--verbose", storage.verbosity, "log to stderr; twice: every message");
  add_migrate_options(app, storage);
  add_evacuation(app, storage);
  CLI::App* serve = app.add_subcommand("serve", "be this host's agent");
  serve->add_option("--listen", storage.serve.listen, "ADDRESS:PORT")->required();
  serve->add_option("--advertise", storage.serve.advertise,
                    "HOST:PORT under which other agents reach this one; default: --listen, or this host's name");
  serve->add_option("--rules", storage.serve.rules, "who may do what here; default: the file `rules` in --tls-dir");
  add_host_options(*serve, storage.serve.host);
  add_set(app, storage.set);
  add_pki(app, storage);
  add_rules(app, storage.rules);
  add_image(app, storage);
  add_status(app, storage);
  add_recovery(app, storage);
  app.add_subcommand("states", "print the states of a migration as a Mermaid diagram");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return HelpText{app.help()};
  } catch (const CLI::CallForAllHelp&) {
    return HelpText{app.help("", CLI::AppFormatMode::All)};
  } catch (const CLI::CallForVersion& version) {
    return HelpText{std::string(version.what()) + "\n"};
  } catch (const CLI::ParseError& error) {
    throw Error(Errc::usage, first_line(error.what()) + "; see vmigrate --help");
  }
  return ParsedOptions{chosen(app, storage), storage.verbosity};
}

}  // namespace vmigrate

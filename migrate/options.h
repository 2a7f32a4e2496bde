// SPDX-License-Identifier: GPL-2.0-or-later
// What the command line may say, checked once.
#pragma once

#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "engine/image_builder.h"
#include "migrate/evacuation.h"
#include "migrate/human_word.h"
#include "migrate/orchestrator.h"
#include "transport/pki.h"

namespace vmigrate {

/// What every command that talks or acts needs to know about this host.
struct HostOptions {
  std::filesystem::path tls_dir = "/etc/vmigrate/tls";
  std::filesystem::path state_dir = "/var/lib/vmigrate";
  std::string runtime = "auto";
};

struct MigrateCommand {
  Errand errand;
  HostOptions host;
  bool is_json = false;
};
struct EvacuateCommand {
  MigrateCommand each;   ///< its container is empty
  EvacuationPlan plan;
};
struct SetCommand {
  std::string source;   ///< its agent
  RateChange change;
  bool is_json = false;
  HostOptions host;
};
struct ServeCommand {
  std::string listen;
  std::string advertise;   ///< where other agents reach this one; empty: as listen
  std::filesystem::path rules;   ///< empty: the file `rules` in host.tls_dir
  HostOptions host;
};
struct PkiInitCommand {
  std::filesystem::path ca_dir;
};
struct PkiIssueCommand {
  std::filesystem::path ca_dir;
  std::filesystem::path tls_dir;
  CertificateRequest request;
  std::vector<std::string> peers;       ///< for the first rules: containers may go there and come from there
  std::vector<std::string> operators;   ///< for the first rules: may start migrations
};
/// Without a host the file is only checked.
struct RulesCommand {
  std::filesystem::path file;
  std::string host;
  std::string action;
  std::string container;
  bool is_dry_run = false;
};
struct ImageCreateCommand {
  ImageRequest request;
};
struct ImageDigestCommand {
  std::filesystem::path image;
};
struct StatesCommand {};
struct StatusCommand {
  std::string container;   ///< empty: all
  bool is_json = false;
  HostOptions host;
};
struct MayRunCommand {
  std::string container;
  HostOptions host;
};
/// Without a container: every kept copy whose time is over.
struct PurgeCommand {
  std::string container;
  std::string migration;   ///< in hex
  HostOptions host;
};
struct RecoverCommand {
  std::chrono::seconds timeout{60};   ///< how long the other side is asked
  HostOptions host;
};
struct JournalCommand {
  std::filesystem::path file;
  bool is_shown = false;              ///< else only verified
};
struct ResolveCommand {
  std::string container;
  HumanWord word = HumanWord::discard_mine;
  std::filesystem::path peer_journal;
  HostOptions host;
};

using CommandLine = std::variant<MigrateCommand, EvacuateCommand, SetCommand, ServeCommand, PkiInitCommand,
                                 PkiIssueCommand, RulesCommand, ImageCreateCommand, ImageDigestCommand, StatesCommand,
                                 StatusCommand, MayRunCommand, PurgeCommand, RecoverCommand, JournalCommand,
                                 ResolveCommand>;

struct ParsedOptions {
  CommandLine command;
  int verbosity = 0;
};
/// What was asked for was help or the version: `text` is for stdout, and that is all.
struct HelpText {
  std::string text;
};

/// Throws Error(Errc::usage) with one sentence.
std::variant<ParsedOptions, HelpText> parse_options(int argc, const char* const* argv);

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// What the command line may say, checked once.
#pragma once

#include <filesystem>
#include <string>
#include <variant>

#include "engine/image_builder.h"
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
struct ServeCommand {
  std::string listen;
  std::string advertise;   ///< where other agents reach this one; empty: as listen
  HostOptions host;
};
struct PkiInitCommand {
  std::filesystem::path ca_dir;
};
struct PkiIssueCommand {
  std::filesystem::path ca_dir;
  std::filesystem::path tls_dir;
  CertificateRequest request;
};
struct ImageCreateCommand {
  ImageRequest request;
};
struct ImageDigestCommand {
  std::filesystem::path image;
};
struct StatesCommand {};

using CommandLine = std::variant<MigrateCommand, ServeCommand, PkiInitCommand, PkiIssueCommand, ImageCreateCommand,
                                 ImageDigestCommand, StatesCommand>;

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

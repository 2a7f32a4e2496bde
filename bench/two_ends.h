// SPDX-License-Identifier: GPL-2.0-or-later
// The command line of a benchmark that is two processes, one on each side of a link.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <string>

#include <CLI/CLI.hpp>

#include "transport/channel.h"
#include "transport/endpoint.h"

namespace vmigrate {

struct TwoEnds {
  Endpoint at;                            ///< where the receiver listens
  std::filesystem::path tls_dir;
  std::filesystem::path image;            ///< read by the sender, made by the receiver
  std::uint64_t bytes = 0;                ///< of the image; the receiver is told, as a migration's offer would
  unsigned streams = 1;
  Compression compression = Compression::automatic;
};

/// Runs `send` or `receive` of PROGRAM send|receive ADDRESS:PORT TLS_DIR IMAGE [options]; returns main's answer.
template <typename Send, typename Receive>
int run_one_end(int argc, char** argv, const char* what, Send send, Receive receive) {
  CLI::App app(what);
  app.require_subcommand(1);
  TwoEnds ends;
  std::string at;
  const std::map<std::string, Compression> compressions{
      {"automatic", Compression::automatic},
      {"none", Compression::none},
      {"lz4", Compression::lz4},
      {"zstd", Compression::zstd}};
  for (const char* end : {"send", "receive"}) {
    CLI::App* one = app.add_subcommand(end);
    one->add_option("at", at, "ADDRESS:PORT where the receiver listens")->required();
    one->add_option("tls_dir", ends.tls_dir, "as vmigrate pki issue makes it")->required();
    one->add_option("image", ends.image)->required();
    one->add_option("--streams", ends.streams, "parallel TLS connections")->check(CLI::Range(1, 16));
  }
  app.get_subcommand("send")->add_option("--compression", ends.compression)->transform(CLI::Transformer(compressions));
  app.get_subcommand("receive")->add_option("--bytes", ends.bytes, "size of the image")->required();
  CLI11_PARSE(app, argc, argv);
  try {
    ends.at = parse_endpoint(at);
    if (app.got_subcommand("send")) send(ends);
    else receive(ends);
    return 0;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/failure.h"

#include <array>
#include <cctype>
#include <cerrno>

#include "migrate/host_facts.h"
#include "transport/channel.h"

namespace vmigrate {
namespace {

struct Remedy {
  Errc code;
  std::string_view advice;
};
/// What to do, for failures whose sentence does not say it where it is thrown.
constexpr std::array kRemedies = {
    Remedy{Errc::connect_failed, "is `vmigrate serve` running there, and are name and port right?"},
    Remedy{Errc::not_tls, "is that the port of a vmigrate agent?"},
    Remedy{Errc::tls_failed, "issue the host's certificates anew with `vmigrate pki issue`, by one CA for all hosts"},
    Remedy{Errc::connection_lost, "look at the log of the agent there, then start again"},
    Remedy{Errc::timed_out, "look at the network and at the agent there, then start again"},
    Remedy{Errc::unsupported_container, "change that on the source and start the container again"},
    Remedy{Errc::criu_missing, "scripts/setup installs what is needed"},
    Remedy{Errc::incompatible_host, "choose another destination"},
    Remedy{Errc::already_exists, "remove or rename it there"},
    Remedy{Errc::no_space, "make room there"},
    Remedy{Errc::disk_full, "free some space there, or use another --state-dir"},
    Remedy{Errc::tracker_unavailable, "use --tracker=rescan"},
    Remedy{Errc::tracking_lost, "use --tracker=rescan"},
    Remedy{Errc::checkpoint_failed, "the container goes on running on the source"},
    Remedy{Errc::restore_failed, "the container goes on running on the source"},
    Remedy{Errc::freeze_timed_out, "the container goes on running on the source"},
    Remedy{Errc::copy_failed, "the container goes on running on the source; look at the disks"},
    Remedy{Errc::digest_mismatch, "the container goes on running on the source; start again with --verify"},
};

bool is_name_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_'; }

/// As a whole word: a host may be called "db" and a container "db7".
bool names(const std::string& sentence, const std::string& host) {
  for (auto at = sentence.find(host); at != std::string::npos; at = sentence.find(host, at + 1)) {
    const auto end = at + host.size();
    const bool begins = at == 0 || !is_name_character(sentence[at - 1]);
    const bool ends = end == sentence.size() || !is_name_character(sentence[end]);
    if (begins && ends) return true;
  }
  return false;
}

/// The sentence with this host's name before it and advice behind it, where it lacks them.
std::string complete(const std::string& sentence, Errc code) {
  if (code == Errc::usage || code == Errc::invalid_name || code == Errc::same_host) return sentence;
  const std::string host = host_name();
  std::string text = names(sentence, host) ? sentence : host + ": " + sentence;
  if (text.find("; ") != std::string::npos) return text;
  for (const Remedy& remedy : kRemedies)
    if (remedy.code == code) return text.append("; ").append(remedy.advice);
  return text;
}

Failure failure_of(const Error& error, Errc otherwise) {
  const int saved_errno = error.code().category() == std::generic_category() ? error.code().value() : 0;
  const Errc code = saved_errno == ENOSPC || saved_errno == EDQUOT ? Errc::disk_full : error.code_or(otherwise);
  return {code, complete(error.what(), code)};
}

}  // namespace

Failure failure_of(std::exception_ptr thrown, Errc otherwise) {
  try {
    std::rethrow_exception(thrown);
  } catch (const PeerError& error) {
    return {error.code_or(otherwise), error.what()};
  } catch (const Error& error) {
    return failure_of(error, otherwise);
  } catch (const std::exception& error) {
    return {Errc::internal, complete(error.what(), Errc::internal)};
  }
}

bool means_peer_is_lost(Errc code) { return code == Errc::connection_lost; }

}  // namespace vmigrate

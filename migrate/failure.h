// SPDX-License-Identifier: GPL-2.0-or-later
// What went wrong, as it is told: a code to decide by and a sentence that names the host.
#pragma once

#include <exception>
#include <string>

#include "base/error.h"

namespace vmigrate {

struct Failure {
  Errc code = Errc::internal;
  std::string sentence;
};

/// What an exception caught on this host means. A sentence of ours is given this host's name, unless it has it already;
/// a peer's sentence names the peer's. A full disk is Errc::disk_full wherever it was met; other kernel failures are
/// `otherwise`.
Failure failure_of(std::exception_ptr thrown, Errc otherwise);

/// True for failures after which there is nobody left to tell.
bool means_peer_is_lost(Errc code);

}  // namespace vmigrate

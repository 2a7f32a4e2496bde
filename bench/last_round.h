// SPDX-License-Identifier: GPL-2.0-or-later
// The end of a copy, as a session ends it.
#pragma once

#include <cstdio>
#include <string>

#include "base/error.h"
#include "engine/volume_copier.h"

namespace vmigrate {

/// The last round. If the tracker cannot vouch for its map it says so, and everything is compared.
inline Task<RoundStats> copy_the_rest(VolumeCopier& copier, const QuietVolume& quiet) {
  std::string loss;
  RoundStats stats;
  try {
    stats = co_await copier.copy_final_round(quiet);
  } catch (const Error& failure) {
    if (failure.code() != Errc::tracking_lost) throw;
    loss = failure.what();
  }
  if (loss.empty()) co_return stats;
  std::fprintf(stderr, "the last round compares everything: %s\n", loss.c_str());
  stats = co_await copier.copy_differences();
  co_return stats;
}

}  // namespace vmigrate

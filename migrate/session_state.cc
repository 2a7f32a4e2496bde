// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/session_state.h"

namespace vmigrate {

std::string_view name_of(SourceState state) noexcept {
  constexpr std::array<std::string_view, 12> names = {
      "connecting", "copying",    "freezing",  "handing_over", "committing",      "in_doubt",
      "retracting", "releasing",  "reclaiming", "done",        "cleanup_pending", "aborted"};
  return names[static_cast<std::size_t>(state)];
}

std::string_view name_of(SourceEvent event) noexcept {
  constexpr std::array<std::string_view, 11> names = {"accepted", "converged", "dumped",   "ready",
                                                      "unrecorded", "running", "refused",  "released",
                                                      "reclaimed",  "failed",  "lost_peer"};
  return names[static_cast<std::size_t>(event)];
}

std::string_view name_of(DestinationState state) noexcept {
  constexpr std::array<std::string_view, 8> names = {"checking", "receiving", "restoring", "prepared",
                                                     "owning",   "done",      "refused",   "discarded"};
  return names[static_cast<std::size_t>(state)];
}

std::string_view name_of(DestinationEvent event) noexcept {
  constexpr std::array<std::string_view, 8> names = {"accepted", "verified", "restored", "go",
                                                     "resumed",  "dismissed",  "failed",   "lost_peer"};
  return names[static_cast<std::size_t>(event)];
}

}  // namespace vmigrate

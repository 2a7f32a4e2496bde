// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/rate_board.h"

#include <utility>

namespace vmigrate {

RateBoard::Knob::Knob(RateBoard* board, const std::string& container, std::function<Rates(const RateChange&)> turn)
    : board_(board), container_(container), turn_(std::move(turn)) {
  if (board_ != nullptr) board_->knobs_.emplace(container_, this);
}

void RateBoard::Knob::remove() noexcept {
  if (board_ == nullptr) return;
  const auto entry = board_->knobs_.find(container_);
  if (entry != board_->knobs_.end() && entry->second == this) board_->knobs_.erase(entry);
}

std::optional<Rates> RateBoard::change(const RateChange& change) const {
  const auto entry = knobs_.find(change.container);
  if (entry == knobs_.end()) return std::nullopt;
  return entry->second->turn_(change);
}

}  // namespace vmigrate

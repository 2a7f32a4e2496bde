// SPDX-License-Identifier: GPL-2.0-or-later
// The image file of one arriving container: a new one, or an earlier copy to begin with; and what is kept of it if the
// container does not come after all.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/block_io.h"
#include "migrate/arrival.h"
#include "migrate/state_dir.h"
#include "migrate/waybill.h"

namespace vmigrate {

/// Its waybill is on the disk as long as it lives, so that after a crash at any point adopt() and leave() end what was
/// begun; both may be repeated. Whoever calls holds the container's journal. Blocking.
class ArrivalImage {
 public:
  /// `waybill` must outlive it.
  ArrivalImage(const StateDir& state, Waybill& waybill);

  /// The earlier copy that an offer can begin with, unless it does not want to.
  static std::optional<KeptCopy> find_base(const StateDir& state, const Offer& offer);

  /// Notes in the waybill which base will be taken, if there is one. Before anything else is made.
  void begin();
  /// Takes that base, or makes a new image, and opens it.
  std::unique_ptr<BlockSink> make(asio::thread_pool& pool);
  /// What a dead agent left.
  void adopt();
  /// The base, to be read before anything is written over it; null if it is a new image.
  std::unique_ptr<BlockSource> base(asio::thread_pool& pool) const;
  const std::filesystem::path& path() const { return path_; }

  /// Keeps what `leftovers` allows and removes the rest. What fails is logged.
  void leave(Leftovers leftovers);

 private:
  bool take_base();
  void forget_base() const;
  bool is_worth_keeping(Leftovers leftovers) const;
  void keep() const;
  void remove() const;
  KeptCopy as_partial_copy() const;

  const StateDir& state_;
  Waybill& waybill_;
  std::filesystem::path path_;
  bool is_there_ = false;   ///< a file at path_ that is ours
};

}  // namespace vmigrate

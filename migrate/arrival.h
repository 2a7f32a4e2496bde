// SPDX-License-Identifier: GPL-2.0-or-later
// One container about to come to this host: all that a migration does for it. The counterpart of Departure.
#pragma once

#include <memory>

#include "checkpoint/image_dir.h"
#include "engine/block_io.h"
#include "engine/digest_index.h"
#include "migrate/documents.h"
#include "migrate/journal.h"
#include "migrate/waybill.h"

namespace vmigrate {

/// What an arrival that comes to nothing leaves on the disk.
enum class Leftovers {
  nothing,
  base,           ///< an image that began as an earlier copy, for that one is part of it
  partial_copy,   ///< any image with enough in it: the next attempt begins with that
};

class Arrival {
 public:
  virtual ~Arrival() = default;

  virtual Journal& journal() = 0;
  /// Where the blocks go. Starts as zeroes, or as base().
  virtual BlockSink& sink() = 0;
  /// What the sink holds before anything is written; null where that is zeroes.
  virtual std::unique_ptr<BlockSource> base() = 0;
  /// What was written so far. Whoever reads the base records that, too.
  virtual DigestIndex& digests() = 0;
  virtual ImageDir& checkpoint() = 0;
  /// Reads the whole image again, from the disk, and digests it.
  virtual Task<Bits128> digest_again() = 0;

  /// Mounts the image and brings the processes back, held. Call only with every byte verified. On failure nothing is
  /// left running or mounted.
  virtual Task<> restore() = 0;
  /// True if the processes are there, and the kernel says that every one stands still.
  virtual Task<bool> is_held() = 0;
  /// OWNED is recorded: links up, processes go on; if a power cut took them, or somebody killed them while they were
  /// held, the container is started from its disk. On failure it may be called again.
  virtual Task<> run() = 0;
  /// It runs here and the source knows, or will ask: nothing more will be recorded, another migration may begin.
  virtual void close_journal() noexcept = 0;
  /// Tells the network again where the container is now.
  virtual void announce() noexcept = 0;
  /// Removes everything that prepare made but `leftovers`, which are noted as a kept copy. Never after OWNED. Does not
  /// throw: what cannot be removed is logged.
  virtual Task<> discard(Leftovers leftovers) = 0;
  /// From now on destruction leaves everything, held or running: the journal says whose it is.
  virtual void leave_as_it_is() noexcept = 0;
};

/// Judges offers and makes room for what it accepts.
class ArrivalHost {
 public:
  virtual ~ArrivalHost() = default;
  /// Throws the Error that refuses the offer. Changes nothing.
  virtual Task<Answer> check(const Offer& offer) = 0;
  /// Makes image, network and directories. Throws Error and leaves nothing behind.
  virtual Task<std::unique_ptr<Arrival>> prepare(const Waybill& waybill) = 0;
  /// What a dead agent left of an arrival, with its journal. Throws Error(Errc::busy) when somebody is at it.
  virtual Task<std::unique_ptr<Arrival>> adopt(const Waybill& waybill) = 0;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// The processes: write down, wake up.
#pragma once

#include <memory>

#include "base/async.h"
#include "checkpoint/container_runtime.h"
#include "checkpoint/frozen_container.h"
#include "checkpoint/image_dir.h"

namespace vmigrate {

/// A restored process tree, held before its first instruction: every task frozen. Destroyed on destruction unless
/// resumed or released.
class RestoredContainer {
 public:
  virtual ~RestoredContainer() = default;
  virtual const ContainerInfo& info() const = 0;
  /// Lets it run. Throws Error if the kernel refuses, container_not_running if it was killed; then nothing ran.
  virtual Task<> resume() = 0;
  /// From now on destruction leaves it as it is (frozen or running): the journal says whose it is.
  virtual void release() noexcept = 0;
};

/// CRIU, driven through the container's own runtime.
class Checkpointer {
 public:
  virtual ~Checkpointer() = default;
  /// Throws Error(Errc::criu_missing) with the remedy unless `criu check` passes and the runtime can use it. Returns
  /// the versions, e.g. "criu 4.2.1, runc 1.1.5".
  virtual Task<std::string> check(std::string runtime) = 0;
  /// Writes down a frozen container, which stays frozen, into an empty directory. Established TCP connections are kept
  /// in repair-free state: the container can go on afterwards. Throws Error(Errc::checkpoint_failed) with CRIU's own
  /// reason; the container is then frozen still.
  virtual Task<> dump(const FrozenContainer& container, ImageDir& into) = 0;
  /// Brings the processes back, held. `bundle` holds the adapted config.json and a mounted rootfs; its network
  /// namespace exists already. Throws Error(Errc::restore_failed) with CRIU's own reason and leaves nothing behind.
  virtual Task<std::unique_ptr<RestoredContainer>> restore(ContainerInfo container, const ImageDir& from) = 0;
  /// A container that a dead agent restored and held. Null unless it is there with every task frozen.
  virtual Task<std::unique_ptr<RestoredContainer>> adopt(std::string id) = 0;
};

}  // namespace vmigrate

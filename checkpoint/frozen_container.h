// SPDX-License-Identifier: GPL-2.0-or-later
// Rollback and commit as types.
#pragma once

#include "base/clock.h"
#include "checkpoint/container_runtime.h"

namespace vmigrate {

/// Standing still, and still ours. Rollback is thaw(); a FrozenContainer that goes out of scope without thaw() or
/// fencing is a mistake of ours that is logged, and thaws by writing the freezer file directly, which cannot suspend.
class FrozenContainer {
 public:
  /// Throws Error, as ContainerRuntime::pause() does, and leaves the container running.
  static Task<FrozenContainer> freeze(ContainerRuntime& runtime, ContainerInfo container);
  FrozenContainer(FrozenContainer&& other) noexcept;
  FrozenContainer& operator=(FrozenContainer&&) = delete;
  ~FrozenContainer();

  const ContainerInfo& info() const { return container_; }
  /// Lets it run on. Throws Error when the kernel refuses.
  Task<> thaw();

 private:
  friend class FencedContainer;
  FrozenContainer(ContainerRuntime& runtime, ContainerInfo container);
  ContainerRuntime* runtime_;   ///< null once given up
  ContainerInfo container_;
};

/// Standing still, and perhaps no longer ours: the destination may have been told to run it. Going out of scope
/// leaves it frozen. Only a durable statement of the destination moves it on.
class FencedContainer {
 public:
  explicit FencedContainer(FrozenContainer&& frozen) noexcept;
  FencedContainer(FencedContainer&& other) noexcept;
  FencedContainer& operator=(FencedContainer&&) = delete;
  ~FencedContainer() = default;  ///< leaves it frozen

  const ContainerInfo& info() const { return container_; }
  /// The destination answered RUNNING, and that is recorded.
  Task<> destroy_after_running();
  /// The destination answered REFUSED, and that is recorded.
  Task<> thaw_after_refused();

 private:
  ContainerRuntime* runtime_;
  ContainerInfo container_;
};

}  // namespace vmigrate

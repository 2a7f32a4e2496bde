// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/frozen_container.h"

#include <utility>

#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/cgroup.h"

namespace vmigrate {
namespace {

/// For destructors, which cannot wait for a coroutine.
void thaw_directly(const ContainerInfo& container) noexcept {
  try {
    log(LogLevel::error, "container=" + container.id + " event=frozen_container_dropped action=thaw");
    const auto cgroup = container.init_pid > 1 ? Cgroup::of_container(container.init_pid) : std::nullopt;
    if (cgroup) cgroup->thaw();
  } catch (const std::exception& failure) {
    log(LogLevel::error, "container=" + container.id + " event=thaw_failed why=" + failure.what());
  }
}

}  // namespace

FrozenContainer::FrozenContainer(ContainerRuntime& runtime, ContainerInfo container)
    : runtime_(&runtime), container_(std::move(container)) {}

FrozenContainer::FrozenContainer(FrozenContainer&& other) noexcept
    : runtime_(std::exchange(other.runtime_, nullptr)), container_(std::move(other.container_)) {}

Task<FrozenContainer> FrozenContainer::freeze(ContainerRuntime& runtime, ContainerInfo container) {
  co_await runtime.pause(container);
  co_return FrozenContainer(runtime, std::move(container));
}

FrozenContainer::~FrozenContainer() {
  if (runtime_ != nullptr) thaw_directly(container_);
}

Task<> FrozenContainer::thaw() {
  MIGRATE_ASSERT(runtime_ != nullptr);
  co_await runtime_->resume(container_);
  // Only now: if the kernel refused, the destructor is the second attempt.
  runtime_ = nullptr;
}

FencedContainer::FencedContainer(FrozenContainer&& frozen) noexcept
    : runtime_(std::exchange(frozen.runtime_, nullptr)), container_(std::move(frozen.container_)) {
  MIGRATE_ASSERT(runtime_ != nullptr);
}

FencedContainer::FencedContainer(FencedContainer&& other) noexcept
    : runtime_(std::exchange(other.runtime_, nullptr)), container_(std::move(other.container_)) {}

Task<> FencedContainer::destroy_after_running() {
  MIGRATE_ASSERT(runtime_ != nullptr);
  co_await runtime_->destroy(container_);
}

Task<> FencedContainer::thaw_after_refused() {
  MIGRATE_ASSERT(runtime_ != nullptr);
  co_await runtime_->resume(container_);
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// A container on the source whose kernel, CRIU and disk are made of memory; its journal and digests are real.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/assert.h"
#include "migrate/departure.h"
#include "tests/support/fake_tracker.h"
#include "tests/support/memory_volume.h"
#include "tests/support/story.h"

namespace vmigrate {

class FakeDeparture final : public Departure {
 public:
  enum class Container { running, stopped, fenced, destroyed };
  /// What a test may let go wrong, or let happen, at each step. Empty: nothing.
  struct Script {
    std::function<void()> at_stop;         ///< just before everything stands still
    std::function<void()> at_dump;
    std::function<void()> at_resume;
    std::function<void()> at_fence;
    std::function<void()> at_release;
    std::function<void()> at_reclaim;
    std::function<void(FakeTracker&)> at_arm;
    bool is_thawed_by_somebody = false;    ///< the kernel says that a task runs
    bool can_be_throttled = true;
    std::function<void()> at_throttle;
  };

  FakeDeparture(MemoryVolume& volume, asio::thread_pool& pool, std::filesystem::path directory, Offer offer,
                Story& story)
      : volume_(volume),
        pool_(pool),
        offer_(std::move(offer)),
        story_(story),
        journal_(std::in_place, directory / "journal", offer_.container),
        waybills_(directory / "waybills"),
        digests_(volume.geometry(), directory),
        checkpoint_(ImageDir::adopt(make(directory / "checkpoint"), offer_.checkpoint_bytes_max)) {
    story_.follow("source", *journal_);
  }
  ~FakeDeparture() override { end(); }
  /// The session is over: from now on the journal answers.
  void end() {
    if (journal_) story_.forget(*journal_);
    journal_.reset();
  }

  Script& script() { return script_; }
  Container container() const { return container_; }
  unsigned throttle_percent() const { return throttle_percent_; }
  FakeTracker& tracker() { return *tracker_; }
  /// From stop to resume, reclaim or the other host's run.
  TimePoint stopped_at{};

  const Offer& offer() const override { return offer_; }
  Journal& journal() override { return *journal_; }
  void note(Waybill waybill) override { waybills_.write(waybill); }
  void forget() noexcept override { waybills_.remove(offer_.container); }
  Volume& volume() override { return volume_; }
  DigestIndex& digests() override { return digests_; }
  asio::thread_pool& pool() override { return pool_; }
  Task<std::uint64_t> trim() override { co_return 0; }
  Task<ArmedTracker> arm_tracker() override {
    auto tracker = std::make_unique<FakeTracker>(volume_);
    tracker_ = tracker.get();
    if (script_.at_arm) script_.at_arm(*tracker);
    co_return ArmedTracker{std::move(tracker), ""};
  }

  std::optional<CpuLimit> watch_cpu() override {
    if (!script_.can_be_throttled) return std::nullopt;
    return CpuLimit{"/cgroup/" + offer_.container, "max 100000", {}};
  }
  void throttle(unsigned percent) override {
    MIGRATE_ASSERT(container_ == Container::running && waybills_.list().at(0).cpu_limit);
    act("source throttles by " + std::to_string(percent), script_.at_throttle);
    throttle_percent_ = percent;
  }

  Task<> stop() override {
    MIGRATE_ASSERT(container_ == Container::running);
    throttle_percent_ = 0;
    act("source stops", script_.at_stop);
    container_ = Container::stopped;
    co_return;
  }
  Task<> dump() override {
    MIGRATE_ASSERT(container_ == Container::stopped);
    act("source dumps", script_.at_dump);
    const std::vector<std::byte> pages(1'200'000, std::byte{0x42});
    checkpoint_.write("core-1.img", 0, std::span(pages).first(100));
    checkpoint_.write("pages-1.img", 0, pages);
    co_return;
  }
  const ImageDir& checkpoint() const override { return checkpoint_; }
  Task<bool> is_stopped() override { co_return container_ == Container::stopped && !script_.is_thawed_by_somebody; }
  Task<> resume() override {
    MIGRATE_ASSERT(container_ == Container::running || container_ == Container::stopped);
    throttle_percent_ = 0;
    if (container_ == Container::stopped) {
      act("source thaws", script_.at_resume);
      container_ = Container::running;
    }
    co_return;
  }

  void fence() override {
    MIGRATE_ASSERT(container_ == Container::stopped);
    act("source fences", script_.at_fence);
    container_ = Container::fenced;
  }
  Task<std::string> release(MigrationId id) override {
    MIGRATE_ASSERT(container_ == Container::fenced && newest_is(RecordType::released));
    act("source destroys", script_.at_release);
    container_ = Container::destroyed;
    co_return "image.migrated-" + to_hex(id);
  }
  Task<> reclaim() override {
    MIGRATE_ASSERT(container_ == Container::fenced);
    act("source thaws", script_.at_reclaim);
    container_ = Container::running;
    co_return;
  }

 private:
  static std::filesystem::path make(const std::filesystem::path& directory) {
    std::filesystem::create_directories(directory);
    return directory;
  }
  bool newest_is(RecordType type) const {
    const auto newest = journal_->newest();
    return newest && newest->type == type;
  }
  void act(const std::string& what, const std::function<void()>& hook) {
    story_.tell(what);
    if (hook) hook();
  }

  MemoryVolume& volume_;
  asio::thread_pool& pool_;
  Offer offer_;
  Story& story_;
  std::optional<Journal> journal_;
  WaybillDir waybills_;
  DigestIndex digests_;
  ImageDir checkpoint_;
  FakeTracker* tracker_ = nullptr;
  Script script_;
  Container container_ = Container::running;
  unsigned throttle_percent_ = 0;
};

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
// A destination made of memory; its journal and digests are real. What became of the container outlives the session.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/assert.h"
#include "migrate/arrival.h"
#include "tests/support/memory_volume.h"
#include "tests/support/story.h"

namespace vmigrate {

class FakeArrivalHost final : public ArrivalHost {
 public:
  enum class Container { none, held, running };
  struct Script {
    std::function<void()> at_check;
    std::function<void()> at_prepare;
    std::function<void()> at_restore;
    std::function<Task<>()> while_it_restores;   ///< else it takes no time
    std::function<void()> at_run;
    MemoryVolume* base = nullptr;    ///< an earlier copy that it begins with
    bool has_rotten_block = false;   ///< what is read again is not what was written
  };

  FakeArrivalHost(std::filesystem::path directory, Story& story) : directory_(std::move(directory)), story_(story) {}

  Script& script() { return script_; }
  Container container() const { return container_; }
  /// Image, network and directories: something of it is there.
  bool is_prepared() const { return is_prepared_; }
  int announcements() const { return announcements_; }
  MemorySink& sink() { return *sink_; }
  /// What the last discarded arrival was told to leave.
  std::optional<Leftovers> leftovers() const { return leftovers_; }
  std::filesystem::path journals() const { return directory_ / "journal"; }

  Task<Answer> check(const Offer&) override {
    if (script_.at_check) script_.at_check();
    co_return Answer{.image = "images/ct.img"};
  }
  Task<std::unique_ptr<Arrival>> prepare(const Waybill& waybill) override {
    if (script_.at_prepare) script_.at_prepare();
    waybills().write(waybill);
    co_return std::make_unique<FakeArrival>(*this, waybill.offer);
  }
  Task<std::unique_ptr<Arrival>> adopt(const Waybill& waybill) override {
    co_return std::make_unique<FakeArrival>(*this, waybill.offer);
  }
  WaybillDir waybills() const { return WaybillDir(directory_ / "waybills"); }

 private:
  class Base final : public BlockSource {
   public:
    explicit Base(MemoryVolume& volume) : volume_(volume) {}
    VolumeGeometry geometry() const override { return volume_.geometry(); }
    Task<> read(Extent extent, std::span<std::byte> into) override { return volume_.read(extent, into); }
    std::optional<Extent> next_data(BlockIndex from) override { return volume_.next_data(from); }

   private:
    MemoryVolume& volume_;
  };

  class FakeArrival final : public Arrival {
   public:
    FakeArrival(FakeArrivalHost& host, const Offer& offer)
        : host_(host),
          container_(offer.container),
          geometry_{offer.volume_bytes},
          journal_(std::in_place, host.journals(), offer.container),
          digests_(geometry_, host.directory_),
          checkpoint_(ImageDir::adopt(make(host.directory_ / "checkpoint"), offer.checkpoint_bytes_max)) {
      if (!host_.is_prepared_) host_.sink_ = std::make_unique<MemorySink>(geometry_);
      if (!host_.is_prepared_ && host_.script_.base != nullptr) host_.sink_->hold(host_.script_.base->content());
      host_.is_prepared_ = true;
      host_.story_.follow("destination", *journal_);
      host_.story_.tell("destination prepares");
    }
    ~FakeArrival() override {
      if (journal_) host_.story_.forget(*journal_);
      if (host_.container_ == Container::held && !is_left_) host_.container_ = Container::none;
    }

    Journal& journal() override { return *journal_; }
    BlockSink& sink() override { return *host_.sink_; }
    std::unique_ptr<BlockSource> base() override {
      if (host_.script_.base == nullptr) return nullptr;
      return std::make_unique<Base>(*host_.script_.base);
    }
    DigestIndex& digests() override { return digests_; }
    ImageDir& checkpoint() override { return checkpoint_; }
    Task<Bits128> digest_again() override {
      DigestIndex again(geometry_, host_.directory_);
      const auto content = host_.sink_->content();
      std::vector<std::byte> block(kBlockBytes);
      for (BlockIndex at; at.value < geometry_.block_count(); ++at.value) {
        const auto bytes = content.subspan(at.value * kBlockBytes, std::min<std::size_t>(
                                               kBlockBytes, content.size() - at.value * kBlockBytes));
        std::fill(block.begin(), block.end(), std::byte{0});
        std::copy(bytes.begin(), bytes.end(), block.begin());
        if (host_.script_.has_rotten_block && at.value == 1) block[7] ^= std::byte{1};
        again.update({at, 1}, block);
      }
      co_return again.root();
    }
    Task<> restore() override {
      MIGRATE_ASSERT(host_.container_ == Container::none);
      host_.act("destination restores", host_.script_.at_restore);
      if (host_.script_.while_it_restores) co_await host_.script_.while_it_restores();
      host_.container_ = Container::held;
    }
    Task<bool> is_held() override { co_return host_.container_ == Container::held; }
    Task<> run() override {
      MIGRATE_ASSERT(host_.container_ == Container::held && journal_->newest()->type == RecordType::owned);
      is_left_ = true;
      host_.act("destination runs", host_.script_.at_run);
      host_.container_ = Container::running;
      co_return;
    }
    void announce() noexcept override { ++host_.announcements_; }
    Task<> discard(Leftovers leftovers) override {
      host_.leftovers_ = leftovers;
      MIGRATE_ASSERT(host_.container_ != Container::running);
      host_.story_.tell("destination discards");
      host_.container_ = Container::none;
      host_.is_prepared_ = false;
      host_.waybills().remove(container_);
      co_return;
    }
    void leave_as_it_is() noexcept override { is_left_ = true; }
    void close_journal() noexcept override {
      host_.story_.forget(*journal_);
      journal_.reset();
      host_.waybills().remove(container_);
    }

   private:
    static std::filesystem::path make(const std::filesystem::path& directory) {
      std::filesystem::create_directories(directory);
      return directory;
    }

    FakeArrivalHost& host_;
    std::string container_;
    VolumeGeometry geometry_;
    std::optional<Journal> journal_;
    DigestIndex digests_;
    ImageDir checkpoint_;
    bool is_left_ = false;
  };

  void act(const std::string& what, const std::function<void()>& hook) {
    story_.tell(what);
    if (hook) hook();
  }

  std::filesystem::path directory_;
  Story& story_;
  Script script_;
  Container container_ = Container::none;
  bool is_prepared_ = false;
  int announcements_ = 0;
  std::optional<Leftovers> leftovers_;
  std::unique_ptr<MemorySink> sink_;
};

}  // namespace vmigrate

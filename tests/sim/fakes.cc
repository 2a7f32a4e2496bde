// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/sim/fakes.h"

#include <optional>

#include "base/assert.h"
#include "migrate/session_state.h"
#include "tests/sim/process.h"
#include "tests/sim/world.h"
#include "tests/support/fake_tracker.h"

namespace vmigrate::sim {
namespace {

constexpr std::uint64_t kCheckpointBytesMax = 1 << 16;
constexpr const char* kPages = "pages-1.img";

/// A tracker whose every drain may fail.
class SimTracker final : public WriteTracker {
 public:
  SimTracker(Process& process, MemoryVolume& volume) : process_(process), tracker_(volume) {}
  std::string_view name() const override { return tracker_.name(); }
  VolumeGeometry geometry() const override { return tracker_.geometry(); }
  Task<> drain_into(DirtySet& out) override {
    reach();
    co_await tracker_.drain_into(out);
  }
  Task<> drain_rest_into(DirtySet& out, const QuietVolume& quiet) override {
    reach();
    co_await tracker_.drain_rest_into(out, quiet);
  }

 private:
  void reach() {
    process_.world().reach(process_, "tracker.drain");
    if (process_.world().has_lost_track()) throw Error(Errc::tracking_lost, "the tracker has lost its way");
  }

  Process& process_;
  FakeTracker tracker_;
};

// --- the source ---------------------------------------------------------------------------------------------------

class SimDeparture final : public Departure {
 public:
  SimDeparture(Process& process, Offer offer, Journal journal)
      : process_(process), host_(process.host()), offer_(std::move(offer)), journal_(std::move(journal)) {}
  SimDeparture(const SimDeparture&) = delete;
  /// As FrozenContainer does it.
  ~SimDeparture() override {
    if (is_frozen_ && !process_.is_dead()) process_.world().run_tree(host_, "thaws, dropped");
  }

  void open() {
    image_ = host_.image;
    digests_.emplace(image_->volume().geometry(), host_.scratch);
  }

  void adopt(SourceState state) {
    reach("departure.adopt");
    if (!host_.tree) return;
    if (state == SourceState::aborted && !host_.tree->is_frozen) return;
    is_frozen_ = true;
    process_.world().freeze_tree(host_, "freezes what it adopts");
    if (state != SourceState::aborted) fence();
  }

  const Offer& offer() const override { return offer_; }
  Journal& journal() override { return journal_; }
  void note(Waybill waybill) override {
    reach("departure.note");
    process_.waybills().write(waybill);
  }
  void forget() noexcept override {
    try {
      process_.waybills().remove(offer_.container);
    } catch (const std::exception&) {
      // The next look finds it, and ends it once more.
    }
  }
  Volume& volume() override { return image_->volume(); }
  DigestIndex& digests() override { return *digests_; }
  asio::thread_pool& pool() override { return process_.pool(); }
  Task<std::uint64_t> trim() override { co_return 0; }
  Task<ArmedTracker> arm_tracker() override {
    reach("departure.arm");
    co_return ArmedTracker{std::make_unique<SimTracker>(process_, image_->volume()), ""};
  }

  /// Nobody asks for it here: what a crash leaves is the kernel's, and e2e looks at that.
  std::optional<CpuLimit> watch_cpu() override { return std::nullopt; }
  void throttle(unsigned) override { MIGRATE_ASSERT(!"it cannot be throttled"); }

  Task<> stop() override {
    reach("departure.stop");
    if (!host_.tree) throw Error(Errc::container_not_running, "the container is gone");
    checkpoint_.emplace(ImageDir::adopt(host_.outgoing, kCheckpointBytesMax));
    process_.world().freeze_tree(host_, "stops");
    is_frozen_ = true;
    stopped_at_ = process_.clock().now();
    co_return;
  }
  Task<> dump() override {
    reach("departure.dump");
    MIGRATE_ASSERT(host_.tree && host_.tree->is_frozen);
    process_.world().tell([&] { return process_.name() + " dumps"; });
    const App app = host_.tree->app;
    checkpoint_->write(kPages, 0, std::as_bytes(std::span(&app, 1)));
    co_return;
  }
  const ImageDir& checkpoint() const override { return *checkpoint_; }
  Task<bool> is_stopped() override { co_return host_.tree && host_.tree->is_frozen && !process_.is_dead(); }
  Task<> resume() override {
    MIGRATE_ASSERT(!is_fenced_);
    if (is_frozen_) {
      reach("departure.resume");
      process_.world().run_tree(host_, "thaws");
      if (stopped_at_) process_.world().judge_pause(process_.clock().now() - *stopped_at_);
    }
    is_frozen_ = false;
    co_return;
  }

  void fence() override {
    MIGRATE_ASSERT(is_frozen_ || process_.is_dead());
    is_fenced_ = true;
    is_frozen_ = false;
  }
  Task<std::string> release(MigrationId id) override {
    reach("departure.release");
    process_.world().judge_release(host_, id);
    if (is_fenced_) process_.world().destroy_tree(host_, "destroys its copy");
    image_.reset();
    if (host_.image) host_.kept_image = std::exchange(host_.image, nullptr);
    reach("departure.release");
    co_return "kept";
  }
  Task<> reclaim() override {
    reach("departure.reclaim");
    if (is_fenced_) process_.world().run_tree(host_, "thaws what was refused");
    is_fenced_ = false;
    co_return;
  }

 private:
  void reach(std::string_view point) { process_.world().reach(process_, point); }

  Process& process_;
  Host& host_;
  Offer offer_;
  Journal journal_;
  std::shared_ptr<Image> image_;
  std::optional<DigestIndex> digests_;
  std::optional<ImageDir> checkpoint_;
  std::optional<TimePoint> stopped_at_;
  bool is_frozen_ = false;   ///< by us, and to be thawed if nobody says otherwise
  bool is_fenced_ = false;
};

// --- the destination ----------------------------------------------------------------------------------------------

class SimArrival final : public Arrival {
 public:
  SimArrival(Process& process, const Waybill& waybill)
      : process_(process),
        host_(process.host()),
        waybill_(waybill),
        journal_(std::in_place, process.journals(), waybill.offer.container, process.disk()) {}
  SimArrival(const SimArrival&) = delete;
  /// As RestoredContainer does it.
  ~SimArrival() override {
    if (has_tree_ && !is_left_ && !process_.is_dead()) process_.world().destroy_tree(host_, "drops what it held");
  }

  void prepare() {
    if (journal_->owner_epoch() >= waybill_.offer.epoch)
      throw Error(Errc::already_exists, "a newer copy was here");
    process_.waybills().write(waybill_);
    reach("arrival.prepare");
    has_image_ = true;
    host_.image = std::make_shared<Image>();
    image_ = host_.image;
    digests_.emplace(VolumeGeometry{waybill_.offer.volume_bytes}, host_.scratch);
    checkpoint_.emplace(ImageDir::adopt(host_.incoming, kCheckpointBytesMax));
    sink_.emplace(image_);
  }
  void adopt() {
    reach("arrival.adopt");
    image_ = host_.image;
    has_image_ = image_ != nullptr;
    is_adopted_ = true;
    const bool may_run = journal_->newest_of(waybill_.migration).has_value();
    has_tree_ = may_run && host_.tree && host_.tree->is_frozen;
  }

  Journal& journal() override { return *journal_; }
  BlockSink& sink() override { return *sink_; }
  std::unique_ptr<BlockSource> base() override { return nullptr; }
  DigestIndex& digests() override { return *digests_; }
  ImageDir& checkpoint() override { return *checkpoint_; }
  Task<Bits128> digest_again() override {
    DigestIndex again(image_->volume().geometry(), host_.scratch);
    again.update({{0}, kBlocks}, image_->volume().content());
    co_return again.root();
  }
  Task<> restore() override {
    reach("arrival.restore");
    App app;
    const auto into = std::as_writable_bytes(std::span(&app, 1));
    if (checkpoint_->read(kPages, 0, into) != into.size()) throw Error(Errc::restore_failed, "the pages are short");
    process_.world().restore_tree(host_, app);
    has_tree_ = true;
    co_return;
  }
  Task<bool> is_held() override { co_return has_tree_ && host_.tree && host_.tree->is_frozen; }
  Task<> run() override {
    leave_as_it_is();
    reach("arrival.run");
    if (host_.tree && host_.tree->is_frozen) process_.world().run_tree(host_, "runs what it held");
    else if (!host_.tree) process_.world().start_tree(host_, "starts from the disk");
    co_return;
  }
  void close_journal() noexcept override {
    try {
      process_.waybills().remove(waybill_.offer.container);
    } catch (const std::exception&) {
      // The next look finds it, and nothing left to do.
    }
    journal_.reset();
  }
  void announce() noexcept override {}
  Task<> discard(Leftovers) override {
    reach("arrival.discard");
    const bool is_ours_to_remove = has_tree_ || (is_adopted_ && has_image_);
    if (is_ours_to_remove && host_.tree) process_.world().destroy_tree(host_, "discards the processes");
    has_tree_ = false;
    sink_.reset();
    image_.reset();
    if (has_image_) host_.image.reset();
    try {
      process_.waybills().remove(waybill_.offer.container);
    } catch (const std::exception&) {
      // As above.
    }
    co_return;
  }
  void leave_as_it_is() noexcept override { is_left_ = true; }

 private:
  void reach(std::string_view point) { process_.world().reach(process_, point); }

  Process& process_;
  Host& host_;
  Waybill waybill_;
  std::optional<Journal> journal_;
  std::shared_ptr<Image> image_;
  std::optional<DigestIndex> digests_;
  std::optional<ImageDir> checkpoint_;
  std::optional<ImageBlockSink> sink_;
  bool has_image_ = false;
  bool has_tree_ = false;   ///< held
  bool is_left_ = false;    ///< it does not go with us
  bool is_adopted_ = false;
};

}  // namespace

Task<std::unique_ptr<Departure>> find_departure(Process& process, Request request) {
  World& world = process.world();
  world.reach(process, "departure.find");
  Host& host = process.host();
  if (!host.tree || host.tree->is_frozen)
    throw Error(Errc::container_not_running, "the container does not run on " + std::string(text_of(host.name)));
  Journal journal(process.journals(), request.container, process.disk());
  const auto newest = journal.newest();
  if (newest && newest->type == RecordType::given) throw Error(Errc::in_doubt, "it was given and that is not settled");
  Offer offer{.container = request.container,
              .runtime = "runc",
              .config = "{}",
              .file_system = "ext4",
              .volume_bytes = kBlocks * kBlockBytes,
              .used_bytes = kBlocks * kBlockBytes,
              .memory_bytes = sizeof(App),
              .checkpoint_bytes_max = kCheckpointBytesMax,
              .epoch = std::max<std::uint64_t>(1, journal.owner_epoch()) + 1,
              .agent = process.is_agent() ? text_of(host.name) : "",
              .options = request.options};
  auto departure = std::make_unique<SimDeparture>(process, std::move(offer), std::move(journal));
  departure->open();
  co_return departure;
}

Task<std::unique_ptr<Departure>> adopt_departure(Process& process, const Waybill& waybill) {
  Journal journal(process.journals(), waybill.offer.container, process.disk());
  const auto newest = journal.newest_of(waybill.migration);
  const SourceState state = source_after_crash(newest ? std::optional(newest->type) : std::nullopt);
  auto departure = std::make_unique<SimDeparture>(process, waybill.offer, std::move(journal));
  departure->adopt(state);
  co_return departure;
}

Task<Answer> SimArrivalHost::check(const Offer&) {
  process_.world().reach(process_, "arrival.check");
  const Host& host = process_.host();
  if (host.tree || host.image) throw Error(Errc::already_exists, "the container is on this host already");
  co_return Answer{.image = "ct.img"};
}

Task<std::unique_ptr<Arrival>> SimArrivalHost::prepare(const Waybill& waybill) {
  auto arrival = std::make_unique<SimArrival>(process_, waybill);
  std::exception_ptr failure;
  try {
    arrival->prepare();
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    co_await arrival->discard(Leftovers::nothing);
    std::rethrow_exception(failure);
  }
  co_return arrival;
}

Task<std::unique_ptr<Arrival>> SimArrivalHost::adopt(const Waybill& waybill) {
  auto arrival = std::make_unique<SimArrival>(process_, waybill);
  arrival->adopt();
  co_return arrival;
}

}  // namespace vmigrate::sim

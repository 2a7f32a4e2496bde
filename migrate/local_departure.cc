// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/local_departure.h"

#include <ctime>
#include <exception>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/assert.h"
#include "base/durable.h"
#include "base/log.h"
#include "checkpoint/container_config.h"
#include "checkpoint/container_memory.h"
#include "checkpoint/cpu_throttle.h"
#include "checkpoint/frozen_container.h"
#include "checkpoint/live_process.h"
#include "checkpoint/network.h"
#include "checkpoint/stray_commands.h"
#include "engine/device_volume.h"
#include "engine/volume_digest.h"
#include "migrate/host_facts.h"
#include "migrate/lane_start.h"
#include "migrate/session_state.h"

namespace vmigrate {
namespace {

constexpr auto kDumpPatience = std::chrono::seconds(3);
constexpr auto kDeathByParasite = std::chrono::milliseconds(100);
constexpr std::uint64_t kCheckpointBytesExtra = 64 << 20;   // page maps, descriptors, logs

/// What is found out about a container before anything is touched.
struct Found {
  ContainerInfo container;
  MountedDevice device;
  Offer offer;
  std::optional<LiveProcess> init;   ///< none after an agent that died
};

/// Nothing to do for an empty path, or one that has its new name already.
void rename_durably(const std::filesystem::path& path, const std::string& suffix) {
  if (path.empty() || !std::filesystem::exists(path)) return;
  std::filesystem::rename(path, path.native() + suffix);
  sync_to_disk(path.parent_path());
}

class LocalDeparture final : public Departure {
 public:
  LocalDeparture(LocalHost host, Found found, std::optional<Journal> journal)
      : host_(host), found_(std::move(found)), journal_(std::move(journal)) {}

  void open();
  Task<> adopt(SourceState state, const std::optional<CpuLimit>& cpu_limit);

  const Offer& offer() const override { return found_.offer; }
  Journal& journal() override {
    MIGRATE_ASSERT(journal_.has_value());
    return *journal_;
  }
  void note(Waybill waybill) override;
  void forget() noexcept override;
  Volume& volume() override { return *volume_; }
  DigestIndex& digests() override { return *digests_; }
  asio::thread_pool& pool() override { return host_.pool; }

  Task<std::uint64_t> trim() override;
  Task<ArmedTracker> arm_tracker() override;
  std::optional<CpuLimit> watch_cpu() override;
  void throttle(unsigned percent) override;
  Task<> stop() override;
  Task<> dump() override;
  const ImageDir& checkpoint() const override { return *checkpoint_; }
  Task<bool> is_stopped() override { return host_.runtime.is_frozen(found_.container); }
  Task<> resume() override;
  void fence() override;
  Task<std::string> release(MigrationId id) override;
  Task<> reclaim() override;

 private:
  std::string checkpoint_name() const { return StateDir::scratch_name(found_.container.id, "-out"); }
  Task<bool> find_processes();
  void check_same_processes() const;
  Task<> check_survived();
  void note_kept_copy(MigrationId id, const std::string& suffix) const;
  std::string keep_image_as(const std::string& suffix) const;

  LocalHost host_;
  Found found_;
  std::optional<Journal> journal_;   ///< none in a dry run
  std::unique_ptr<Volume> volume_;
  std::optional<DigestIndex> digests_;
  std::optional<CpuThrottle> throttle_;
  std::unique_ptr<NetworkHold> hold_;
  std::optional<FrozenContainer> frozen_;
  std::optional<FencedContainer> fenced_;
  std::optional<ImageDir> checkpoint_;
  bool may_stand_ = false;   ///< a freeze was tried
  bool has_dump_failed_ = false;
};

Task<std::uint64_t> LocalDeparture::trim() {
  const auto work = [this] { return vmigrate::trim(found_.device); };
  co_return co_await offload(host_.pool, work);
}

Task<ArmedTracker> LocalDeparture::arm_tracker() {
  const auto work = [this] {   // the kernel checks programs, and a device that is never still is waited for
    return vmigrate::arm_tracker(found_.offer.options.tracker, host_.pool, found_.device, *volume_, *digests_);
  };
  co_return co_await offload(host_.pool, work);
}

std::optional<CpuLimit> LocalDeparture::watch_cpu() {
  auto throttle = CpuThrottle::of_container(found_.container.init_pid, std::chrono::steady_clock::now());
  if (!throttle) return std::nullopt;
  throttle_.emplace(std::move(*throttle));
  return throttle_->limit();
}

void LocalDeparture::throttle(unsigned percent) {
  throttle_->hold_back(percent, std::chrono::steady_clock::now());
}

void LocalDeparture::open() {
  volume_ = open_volume(host_.pool, found_.device);
  digests_.emplace(volume_->geometry(), host_.state.scratch());
}

void LocalDeparture::note(Waybill waybill) {
  waybill.bundle = found_.container.bundle;
  waybill.device = found_.device;
  host_.state.waybills().write(waybill);
}

void LocalDeparture::forget() noexcept {
  try {
    host_.state.waybills().remove(found_.container.id);
  } catch (const std::exception& failure) {
    log(LogLevel::warn, "container=" + found_.container.id + " event=left_behind reason=" + failure.what());
  }
}

/// A cgroup that has changed since is no reason to leave the rest undone.
void give_back_cpu(const CpuLimit& limit) noexcept {
  try {
    put_back(limit);
  } catch (const std::exception& failure) {
    log(LogLevel::error, "cgroup=" + limit.directory.native() + " event=left_throttled reason=" + failure.what());
  }
}

// --- after an agent that died -------------------------------------------------------------------------------------

/// Ends what the dead agent's commands were doing. What may belong to the destination stands still afterwards, even if
/// somebody has thawed it meanwhile; what is surely ours is left to resume().
Task<> LocalDeparture::adopt(SourceState state, const std::optional<CpuLimit>& cpu_limit) {
  // Whoever came further let go of it before the freeze.
  if (state == SourceState::aborted && cpu_limit) give_back_cpu(*cpu_limit);
  const auto work = [this] {
    auto images = ImageDir::take_over(host_.state.scratch(), checkpoint_name());
    if (images) checkpoint_.emplace(std::move(*images));
    if (checkpoint_) end_commands_on(checkpoint_->path(), kDumpPatience);
    thaw_file_system(found_.device);   // it was frozen for the last round
    forget_tracker(host_.pool, found_.device);
  };
  co_await offload(host_.pool, work);
  const bool has_processes = co_await find_processes();
  if (!has_processes) co_return;
  const bool is_frozen = co_await host_.runtime.is_frozen(found_.container);
  hold_ = hold_network_again(found_.offer.network);
  if (state == SourceState::aborted && !is_frozen) co_return;
  frozen_.emplace(co_await FrozenContainer::freeze(host_.runtime, found_.container));
  if (state != SourceState::aborted) fence();
}

/// False after a power cut.
Task<bool> LocalDeparture::find_processes() {
  const ContainerInfo as_noted = found_.container;
  try {
    found_.container = co_await host_.runtime.inspect(as_noted.id);
  } catch (const Error& error) {
    if (error.code_or(Errc::internal) != Errc::unknown_container) throw;
    co_return false;
  }
  const bool is_alive = found_.container.init_pid > 0;
  if (!is_alive) found_.container = as_noted;
  co_return is_alive;
}

/// Its id may be another container's by now, and the number of its init another process's.
void LocalDeparture::check_same_processes() const {
  if (!found_.init || found_.init->is_alive()) return;
  throw Error(Errc::container_not_running, "container " + found_.container.id + " on " + host_name() +
                                               " ended or was started anew while it was copied; migrate it again");
}

/// Links first: what would reach the sockets after they are written down would be acknowledged and lost.
Task<> LocalDeparture::stop() {
  check_same_processes();
  checkpoint_.emplace(
      ImageDir::create(host_.state.scratch(), checkpoint_name(), found_.offer.checkpoint_bytes_max));
  hold_ = hold_network(found_.offer.network);
  // A task without CPU time left does not come to the point where it freezes.
  if (throttle_) throttle_->let_go();
  may_stand_ = true;
  frozen_.emplace(co_await FrozenContainer::freeze(host_.runtime, found_.container));
  check_same_processes();
}

Task<> LocalDeparture::dump() {
  has_dump_failed_ = true;
  co_await host_.checkpointer.dump(*frozen_, *checkpoint_);
  has_dump_failed_ = false;
}

Task<> LocalDeparture::resume() {
  MIGRATE_ASSERT(!fenced_.has_value());
  std::exception_ptr failure;
  try {
    if (frozen_) co_await frozen_->thaw();
    else if (may_stand_ && found_.init && found_.init->is_alive()) co_await host_.runtime.resume(found_.container);
    frozen_.reset();
    hold_.reset();
    checkpoint_.reset();
    if (throttle_) throttle_->let_go();
  } catch (const std::exception&) {
    failure = std::current_exception();
  }
  if (has_dump_failed_) co_await check_survived();
  if (failure) std::rethrow_exception(failure);
}

/// A CRIU that was killed may have left its parasite in a task, and the task dies of it as soon as it runs.
Task<> LocalDeparture::check_survived() {
  const auto wait = [] { std::this_thread::sleep_for(kDeathByParasite); };
  co_await offload(host_.pool, wait);
  const ContainerInfo now = co_await host_.runtime.inspect(found_.container.id);
  if (now.status != ContainerStatus::running)
    throw Error(Errc::container_not_running, "container " + found_.container.id +
                                                 " ended while CRIU wrote it down: start it again on the source");
}

void LocalDeparture::fence() {
  fenced_.emplace(std::move(*frozen_));
  frozen_.reset();
  hold_->keep_down();
}

/// Each step can be repeated, so that a release that failed half-way can be finished later.
Task<std::string> LocalDeparture::release(MigrationId id) {
  if (fenced_) co_await fenced_->destroy_after_running();
  else co_await host_.runtime.destroy(found_.container);   // an agent may have died between killing and forgetting
  checkpoint_.reset();
  volume_.reset();
  co_await remove_network(host_.pool, found_.offer.network);
  const std::string suffix = ".migrated-" + to_hex(id);
  const auto work = [this, &suffix, id] {
    unmount_image(found_.device);
    const std::string kept = keep_image_as(suffix);
    note_kept_copy(id, suffix);
    return kept;
  };
  co_return co_await offload(host_.pool, work);
}

void LocalDeparture::note_kept_copy(MigrationId id, const std::string& suffix) const {
  KeptCopy copy{.container = found_.container.id, .migration = id};
  if (!found_.device.image.empty()) copy.image = found_.device.image.native() + suffix;
  copy.bundle = found_.container.bundle.native() + suffix;
  copy.until = static_cast<std::uint64_t>(std::time(nullptr) + found_.offer.options.keep_source.count());
  host_.state.kept_copies().write(copy);
}

/// Renames image and bundle, so that nothing starts them by accident; the image first, since it may lie in the bundle.
/// Returns the image's new name.
std::string LocalDeparture::keep_image_as(const std::string& suffix) const {
  rename_durably(found_.device.image, suffix);
  rename_durably(found_.container.bundle, suffix);
  return found_.device.image.empty() ? found_.device.device.native() : found_.device.image.native() + suffix;
}

Task<> LocalDeparture::reclaim() {
  if (fenced_) {
    co_await fenced_->thaw_after_refused();
    // The links were to stay down for ever; now they are ours again.
    hold_ = hold_network(found_.offer.network);
  } else {
    log(LogLevel::error, "container=" + found_.container.id + " event=ours_again remark=its processes were lost in a "
                         "power cut; start it as after any boot");
  }
  hold_.reset();
  checkpoint_.reset();
  fenced_.reset();
}

Task<Found> find(const LocalHost& host, const Request& request) {
  check_container_id(request.container);
  Found found;
  found.container = co_await host.runtime.inspect(request.container);
  if (found.container.status == ContainerStatus::running) found.init.emplace(found.container.init_pid);
  if (!found.init || !found.init->is_alive())
    throw Error(Errc::container_not_running, "container " + request.container + " on " + host_name() +
                                                 " is not running; start or resume it first");
  found.device = find_mounted_device(found.container.rootfs);
  Offer& offer = found.offer;
  offer.config = read_config(found.container.bundle);
  check_config(offer.config);
  offer.network = co_await read_network(host.pool, found.container);
  offer.host = co_await read_host_facts(host.checkpointer, found.container.runtime);
  const ContainerMemory memory =
      co_await offload(host.pool, [pid = found.container.init_pid] { return read_memory(pid); });
  offer.container = request.container;
  offer.runtime = found.container.runtime;
  offer.file_system = found.device.file_system;
  offer.memory_bytes = memory.process_bytes + memory.tmpfs_bytes;
  offer.checkpoint_bytes_max = 2 * offer.memory_bytes + kCheckpointBytesExtra;
  offer.is_dry_run = request.is_dry_run;
  offer.options = request.options;
  if (offer.options.streams == 0) offer.options.streams = default_streams();
  co_return found;
}

/// The journal decides who may run a container: one that was given away is not offered again.
void check_ownership(const Journal& journal, const std::string& container) {
  const auto newest = journal.newest();
  if (newest && newest->type == RecordType::given)
    throw Error(Errc::in_doubt, "container " + container + " was given to " + newest->peer +
                                    " and that is not settled yet; `vmigrate status " + container +
                                    "` shows both sides");
}

/// Whoever was killed while he throttled it noted what to put back, and that note is about to be written over.
void undo_throttle_of_the_dead(const WaybillDir& waybills, const std::string& container) {
  for (const Waybill& waybill : waybills.list())
    if (waybill.side == Side::source && waybill.offer.container == container && waybill.cpu_limit)
      give_back_cpu(*waybill.cpu_limit);
}

}  // namespace

Task<std::unique_ptr<Departure>> find_departure(LocalHost host, Request request, std::string agent) {
  Found found = co_await find(host, request);
  std::optional<Journal> journal;
  if (!request.is_dry_run) {
    journal.emplace(host.state.journals(), request.container);
    check_ownership(*journal, request.container);
    undo_throttle_of_the_dead(host.state.waybills(), request.container);
  }
  found.offer.agent = std::move(agent);
  // An owner without a record is at epoch 1; whoever gets it is the next.
  found.offer.epoch = std::max<std::uint64_t>(1, journal ? journal->owner_epoch() : 0) + 1;
  auto volume = open_volume(host.pool, found.device);
  found.offer.volume_bytes = volume->geometry().bytes;
  found.offer.used_bytes = used_bytes(*volume);
  volume.reset();
  auto departure = std::make_unique<LocalDeparture>(host, std::move(found), std::move(journal));
  departure->open();
  co_return departure;
}

Task<std::unique_ptr<Departure>> adopt_departure(LocalHost host, const Waybill& waybill) {
  Found found;
  found.offer = waybill.offer;
  found.device = waybill.device;
  found.container = {.id = waybill.offer.container,
                     .runtime = waybill.offer.runtime,
                     .bundle = waybill.bundle,
                     .rootfs = waybill.device.mount_point};
  Journal journal(host.state.journals(), waybill.offer.container);
  const auto newest = journal.newest_of(waybill.migration);
  const SourceState state = source_after_crash(newest ? std::optional(newest->type) : std::nullopt);
  auto departure = std::make_unique<LocalDeparture>(host, std::move(found), std::move(journal));
  co_await departure->adopt(state, waybill.cpu_limit);
  co_return departure;
}

}  // namespace vmigrate

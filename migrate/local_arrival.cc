// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/local_arrival.h"

#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/durable.h"
#include "base/log.h"
#include "checkpoint/container_config.h"
#include "checkpoint/network.h"
#include "checkpoint/restore_scope.h"
#include "checkpoint/stray_commands.h"
#include "engine/device_volume.h"
#include "engine/volume_digest.h"
#include "migrate/arrival_image.h"
#include "migrate/host_facts.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;

// A file system image from elsewhere is parsed by our kernel: only those that are meant for it.
constexpr std::array<std::string_view, 2> kFileSystems = {"ext4", "xfs"};
constexpr std::uint64_t kSpareDiskBytes = 64 << 20;

void refuse_existing(const fs::path& path) {
  if (fs::symlink_status(path).type() != fs::file_type::not_found)
    throw Error(Errc::already_exists, path.native() + " exists on " + host_name() + " already; remove or rename it");
}

/// Nothing if the runtime does not know it.
Task<std::optional<ContainerInfo>> find_container(ContainerRuntime& runtime, std::string id) {
  std::optional<ContainerInfo> found;
  try {
    found = co_await runtime.inspect(std::move(id));
  } catch (const Error& error) {
    if (error.code() != Errc::unknown_container) throw;
  }
  co_return found;
}

std::uint64_t free_disk_bytes(const fs::path& directory) {
  struct statvfs space {};
  check_syscall(::statvfs(directory.c_str(), &space), "statvfs", directory.native());
  return static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
}

/// MemAvailable: what the kernel could give without swapping.
std::uint64_t free_memory_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string word; meminfo >> word;)
    if (word == "MemAvailable:") {
      std::uint64_t kib = 0;
      meminfo >> kib;
      return kib * 1024;
    }
  throw Error(Errc::internal, "/proc/meminfo has no line MemAvailable");
}

/// What the base occupies need not be free as well.
void check_space(const Offer& offer, std::uint64_t base_bytes, const StateDir& state) {
  const std::uint64_t disk = free_disk_bytes(state.root());
  const std::uint64_t needed = offer.used_bytes - std::min(offer.used_bytes, base_bytes) + kSpareDiskBytes;
  if (disk < needed)
    throw Error(Errc::no_space, state.root().native() + " on " + host_name() + " has " + format_bytes(disk) +
                                    " free, the image needs " + format_bytes(needed) +
                                    "; free some space or choose another --state-dir");
  // The processes' memory, and once more for the checkpoint on tmpfs.
  const std::uint64_t memory = free_memory_bytes();
  if (memory < 2 * offer.memory_bytes)
    throw Error(Errc::no_space, host_name() + " has " + format_bytes(memory) +
                                    " of memory free, container and checkpoint need " +
                                    format_bytes(2 * offer.memory_bytes));
}

std::optional<MountedDevice> mounted_at(const fs::path& rootfs) {
  try {
    return find_mounted_device(rootfs);
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// One arriving container. Members are destroyed in the reverse order of their making: processes, mount, network,
/// files.
class LocalArrival final : public Arrival {
 public:
  LocalArrival(LocalHost host, const Waybill& waybill)
      : host_(host),
        waybill_(waybill),
        offer_(waybill_.offer),
        image_(host.state, waybill_),
        bundle_(host.state.bundle(offer_.container)),
        journal_(std::in_place, host.state.journals(), offer_.container) {}
  LocalArrival(const LocalArrival&) = delete;

  Task<> prepare();
  Task<> adopt();

  Journal& journal() override { return *journal_; }
  BlockSink& sink() override { return *sink_; }
  std::unique_ptr<BlockSource> base() override { return image_.base(host_.pool); }
  DigestIndex& digests() override { return *digests_; }
  ImageDir& checkpoint() override { return *checkpoint_; }
  Task<Bits128> digest_again() override;
  Task<> restore() override;
  Task<bool> is_held() override;
  Task<> run() override;
  void close_journal() noexcept override;
  void announce() noexcept override;
  Task<> discard(Leftovers leftovers) override;
  void leave_as_it_is() noexcept override;

 private:
  void make_bundle();
  void connect() noexcept;
  Task<> let_go_on();
  Task<> start_from_disk();
  ContainerInfo container() const;
  void attach();
  void remove_processes() noexcept;
  void unmount() noexcept;
  Task<> forget_network();
  void forget_waybill() noexcept;
  void remove_bundle() noexcept;

  LocalHost host_;
  Waybill waybill_;
  const Offer& offer_;
  ArrivalImage image_;
  fs::path bundle_;
  std::optional<Journal> journal_;
  std::optional<DigestIndex> digests_;
  std::optional<ImageDir> checkpoint_;
  std::unique_ptr<BlockSink> sink_;
  std::unique_ptr<PreparedNetwork> network_;
  std::optional<MountedImage> mounted_;
  std::unique_ptr<RestoredContainer> restored_;
  bool were_killed_ = false;   ///< the processes, while they were held
  bool has_bundle_ = false;
  bool is_adopted_ = false;
};

Task<> LocalArrival::prepare() {
  if (journal_->owner_epoch() >= offer_.epoch)
    throw Error(Errc::already_exists,
                "container " + offer_.container + " comes with epoch " + std::to_string(offer_.epoch) +
                    ", but the journal of " + host_name() + " is at " + std::to_string(journal_->owner_epoch()) +
                    ": a newer copy was here; remove " + (host_.state.journals() / offer_.container).native() +
                    " if that one is gone for ever");
  image_.begin();
  digests_.emplace(VolumeGeometry{offer_.volume_bytes}, host_.state.scratch());
  checkpoint_.emplace(ImageDir::create(host_.state.scratch(), StateDir::scratch_name(offer_.container, "-in"),
                                       std::min(offer_.checkpoint_bytes_max, free_memory_bytes())));
  sink_ = image_.make(host_.pool);
  network_ = co_await prepare_network(host_.pool, offer_.network);
  make_bundle();
}

/// Everything that is there is ours: before the waybill was written, nothing of these names existed. It goes by
/// discard() only, never by going out of scope.
Task<> LocalArrival::adopt() {
  is_adopted_ = true;
  image_.adopt();
  has_bundle_ = fs::exists(bundle_);
  const auto work = [this] {
    auto images = ImageDir::take_over(host_.state.scratch(), StateDir::scratch_name(offer_.container, "-in"));
    if (images) checkpoint_.emplace(std::move(*images));
    if (checkpoint_) end_commands_on(checkpoint_->path(), std::chrono::milliseconds(0));
    const auto device = mounted_at(bundle_ / "rootfs");
    if (device) mounted_.emplace(MountedImage::adopt(*device));
  };
  co_await offload(host_.pool, work);
  const bool may_run = journal_->newest_of(waybill_.migration).has_value();
  if (may_run) restored_ = co_await host_.checkpointer.adopt(offer_.container);
  leave_as_it_is();
}

void LocalArrival::make_bundle() {
  has_bundle_ = true;
  fs::create_directories(bundle_ / "rootfs");
  std::ofstream config(bundle_ / "config.json");
  config << adapt_config(offer_.config,
                         {bundle_ / "rootfs", network_->namespace_path(), "/vmigrate/" + offer_.container})
         << std::flush;
  if (!config) throw Error(errno, "cannot write", (bundle_ / "config.json").native());
  // Before PREPARED everything has to be there after a power cut, the image's name among it.
  for (const auto& path : {bundle_ / "config.json", bundle_, bundle_.parent_path(), image_.path().parent_path()})
    sync_to_disk(path);
}

Task<Bits128> LocalArrival::digest_again() {
  const auto source = open_source(host_.pool, image_.path());
  co_return co_await digest_volume(host_.pool, *source);
}

Task<> LocalArrival::restore() {
  sink_.reset();
  const auto work = [this] { attach(); };
  co_await offload(host_.pool, work);
  restored_ = co_await host_.checkpointer.restore(container(), *checkpoint_);
}

ContainerInfo LocalArrival::container() const {
  return {.id = offer_.container, .runtime = offer_.runtime, .bundle = bundle_, .rootfs = bundle_ / "rootfs"};
}

void LocalArrival::attach() {
  mounted_.emplace(MountedImage::attach(image_.path(), bundle_ / "rootfs", offer_.file_system));
}

Task<bool> LocalArrival::is_held() {
  if (!restored_) co_return false;
  co_return co_await host_.runtime.is_frozen(restored_->info());
}

Task<> LocalArrival::run() {
  // From OWNED on nothing may be taken away again by going out of scope, whatever fails here.
  leave_as_it_is();
  if (!network_) network_ = co_await adopt_network(host_.pool, offer_.network);
  network_->keep();
  connect();
  if (restored_) co_await let_go_on();
  if (!restored_) co_await start_from_disk();
}

Task<> LocalArrival::let_go_on() {
  try {
    co_await restored_->resume();
  } catch (const Error& error) {
    if (error.code() != Errc::container_not_running) throw;
    were_killed_ = true;   // while they were held: none of them ran here
    restored_.reset();
  }
}

/// After a power cut: the processes are lost, as on any host, but what they had written is here. An agent that died
/// after letting them go on finds them running.
Task<> LocalArrival::start_from_disk() {
  const auto known = co_await find_container(host_.runtime, offer_.container);
  if (known && (known->init_pid > 0 || !were_killed_)) co_return;
  if (known) co_await host_.runtime.destroy(*known);   // what the runtime remembers of the dead
  const auto work = [this] {
    if (!mounted_) attach();
    mounted_->keep();
  };
  co_await offload(host_.pool, work);
  log(LogLevel::warn, "container=" + offer_.container + " event=starting_from_disk reason=processes_lost");
  const ContainerInfo info = container();
  co_await host_.runtime.start(info);
}

void LocalArrival::close_journal() noexcept {
  checkpoint_.reset();   // while there is still a waybill to find it by
  forget_waybill();
  journal_.reset();
}

/// A waybill that stays although all is done does no harm: the next agent finds nothing left to do.
void LocalArrival::forget_waybill() noexcept {
  try {
    host_.state.waybills().remove(offer_.container);
  } catch (const std::exception& failure) {
    log(LogLevel::warn, "container=" + offer_.container + " event=left_behind reason=" + failure.what());
  }
}

void LocalArrival::announce() noexcept {
  if (network_) network_->announce();
}

/// It is ours and must run; a network that fails now is an operator's matter, not a reason to keep it standing.
void LocalArrival::connect() noexcept {
  try {
    network_->connect();
  } catch (const std::exception& error) {
    log(LogLevel::error, "container=" + offer_.container + " event=not_connected reason=" + error.what());
  }
}

void LocalArrival::leave_as_it_is() noexcept {
  if (restored_) restored_->release();
  if (mounted_) mounted_->keep();
  if (network_) network_->keep();
}

Task<> LocalArrival::discard(Leftovers leftovers) {
  const auto work = [this, leftovers] {
    restored_.reset();
    if (is_adopted_) remove_processes();
    mounted_.reset();
    if (is_adopted_) unmount();
    network_.reset();
    sink_.reset();
    checkpoint_.reset();
    image_.leave(leftovers);
    remove_bundle();
  };
  co_await offload(host_.pool, work);
  if (is_adopted_) co_await forget_network();
  forget_waybill();
}

/// Whatever a restore that was cut short has left.
void LocalArrival::remove_processes() noexcept {
  if (has_bundle_) RestoreScope(container(), checkpoint_ ? checkpoint_->path() : fs::path()).remove_everything();
}

void LocalArrival::unmount() noexcept {
  try {
    if (const auto device = mounted_at(bundle_ / "rootfs")) unmount_image(*device);
  } catch (const std::exception& failure) {
    log(LogLevel::warn, "container=" + offer_.container + " event=left_behind reason=" + failure.what());
  }
}

Task<> LocalArrival::forget_network() {
  try {
    co_await remove_network(host_.pool, offer_.network);
  } catch (const std::exception& failure) {
    log(LogLevel::warn, "container=" + offer_.container + " event=left_behind reason=" + failure.what());
  }
}

void LocalArrival::remove_bundle() noexcept {
  std::error_code failure;
  // Never recursively: should the image still be mounted there, its files are not ours to delete.
  if (has_bundle_) fs::remove(bundle_ / "config.json", failure);
  if (has_bundle_) fs::remove(bundle_ / "rootfs", failure);
  if (has_bundle_) fs::remove(bundle_, failure);
  if (failure) log(LogLevel::warn, "event=left_behind path=" + bundle_.native() + " reason=" + failure.message());
}

}  // namespace

Task<Answer> LocalArrivalHost::check(const Offer& offer) {
  check_container_id(offer.container);
  check_config(offer.config);
  const auto known = co_await find_container(host_.runtime, offer.container);
  if (known)
    throw Error(Errc::already_exists,
                "container " + offer.container + " exists on " + host_name() + " already; delete it there");
  refuse_existing(host_.state.image(offer.container));
  refuse_existing(host_.state.bundle(offer.container));
  if (std::find(kFileSystems.begin(), kFileSystems.end(), offer.file_system) == kFileSystems.end())
    throw Error(Errc::unsupported_container,
                "the file system " + offer.file_system + " cannot be taken over; ext4 and xfs can");
  Answer answer;
  answer.host = co_await read_host_facts(host_.checkpointer, offer.runtime);
  check_compatible(offer.host, answer.host, host_name());
  const auto base = ArrivalImage::find_base(host_.state, offer);
  if (base) answer.base_bytes = allocated_bytes(base->image);
  check_space(offer, answer.base_bytes, host_.state);
  co_await check_network(host_.pool, offer.network);
  answer.image = host_.state.image(offer.container);
  co_return answer;
}

Task<std::unique_ptr<Arrival>> LocalArrivalHost::adopt(const Waybill& waybill) {
  auto arrival = std::make_unique<LocalArrival>(host_, waybill);
  co_await arrival->adopt();
  co_return arrival;
}

Task<std::unique_ptr<Arrival>> LocalArrivalHost::prepare(const Waybill& waybill) {
  auto arrival = std::make_unique<LocalArrival>(host_, waybill);
  std::exception_ptr failure;
  try {
    co_await arrival->prepare();
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    co_await arrival->discard(Leftovers::base);
    std::rethrow_exception(failure);
  }
  co_return arrival;
}

}  // namespace vmigrate

// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/tracker/tracker_objects.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <fstream>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "engine/block.h"
#include "engine/tracker/libbpf_failure.h"
#include "write_tracker.skel.h"

namespace vmigrate {
namespace {

constexpr const char* kMapNames[] = {"state", "dirty", "pending", "unsure", "in_flight"};
constexpr const char* kBioEnd = "block_bio_complete";
constexpr std::uint64_t kBitsMax = std::uint64_t{1} << 28;  // 32 MiB of map: 1 TiB of 4 KiB blocks
constexpr unsigned kCopiesUpToHardInterrupt = 3;            // a task and softirq can be interrupted
constexpr unsigned kCopiesUpToSoftInterrupt = 2;            // a task can
constexpr unsigned kQueueCopiesWithoutPreemption = 1;       // submitting may sleep: only tasks do it
constexpr unsigned kCopiesWithPreemption = VM_COPIES_MAX;   // nesting of 3 was seen on Linux 7.2; more is noticed

std::uint64_t divide_up(std::uint64_t amount, std::uint64_t by) { return (amount + by - 1) / by; }
std::uint64_t page_bytes() { return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)); }

struct Release {
  int major = 0;
  int minor = 0;
  auto operator<=>(const Release&) const = default;
};

Release running_release() {
  utsname name{};
  Release release;
  ::uname(&name);
  std::sscanf(name.release, "%d.%d", &release.major, &release.minor);
  return release;
}

/// Interrupts leave the stack of the task: see interruption.h.
#if defined(__x86_64__) || defined(__aarch64__)
constexpr bool kInterruptsHaveStacks = true;
#else
constexpr bool kInterruptsHaveStacks = false;
#endif

/// Programs can be preempted, so that how deeply they nest is not bounded by the kinds of interrupt.
bool programs_are_preemptible() {
  std::ifstream realtime("/sys/kernel/realtime");
  int is_realtime = 0;
  realtime >> is_realtime;
  return is_realtime == 1 || running_release() >= Release{6, 19};
}

/// One bit per block; on devices beyond 1 TiB one bit per two, four, … blocks.
unsigned shift_for(std::uint64_t sectors) {
  unsigned shift = std::countr_zero(kBlockBytes / 512);
  while (divide_up(sectors, std::uint64_t{1} << shift) > kBitsMax) ++shift;
  return shift;
}

struct SkeletonDeleter {
  void operator()(write_tracker_bpf* skeleton) const { write_tracker_bpf__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<write_tracker_bpf, SkeletonDeleter>;

/// One more than the kinds of context that an event of the device can interrupt.
unsigned copies_for(const TrackedDevice& device, bool watch_depth) {
  if (watch_depth) return kCopiesWithPreemption;
  return device.may_end_in_hard_interrupt() ? kCopiesUpToHardInterrupt : kCopiesUpToSoftInterrupt;
}

vm_config config_for(const TrackedDevice& device, bool marks_at_issue) {
  vm_config config{};
  config.start = device.start();
  config.end = device.start() + device.sectors();
  config.diskseq = device.identity().diskseq;
  config.disk = device.disk_major() << 20 | device.disk_minor();
  config.shift = shift_for(device.sectors());
  config.watch_depth = programs_are_preemptible() || !kInterruptsHaveStacks;
  config.copies = copies_for(device, config.watch_depth);
  config.mark_at_issue = marks_at_issue;
  config.queue_copies = config.watch_depth ? kCopiesWithPreemption : kQueueCopiesWithoutPreemption;
  if (marks_at_issue) config.copies = config.queue_copies = 1;
  return config;
}

/// Events for which the kernel skipped the program behind this link.
std::uint64_t skips_of(int link, const std::string& tracepoint) {
  bpf_link_info about_link{};
  __u32 bytes = sizeof about_link;
  check_syscall(::bpf_obj_get_info_by_fd(link, &about_link, &bytes), "bpf_obj_get_info_by_fd", tracepoint);
  const UniqueFd program(
      check_syscall(::bpf_prog_get_fd_by_id(about_link.prog_id), "bpf_prog_get_fd_by_id", tracepoint));
  bpf_prog_info about{};
  bytes = sizeof about;
  check_syscall(::bpf_obj_get_info_by_fd(program.get(), &about, &bytes), "bpf_obj_get_info_by_fd", tracepoint);
  return about.recursion_misses;
}

unsigned copies_on(const vm_config& config, const std::string& tracepoint) {
  if (tracepoint == kBioEnd) return 1;
  return tracepoint == "block_bio_queue" ? config.queue_copies : config.copies;
}

}  // namespace

/// The steps of load(), in their order. Pins come last: a process that dies before leaves nothing, or an incomplete
/// set, which take_over() refuses and removes.
class TrackerLoader {
 public:
  TrackerLoader(const TrackedDevice& device, const TrackerObjects::Options& options)
      : device_(device), options_(options), config_(config_for(device, options.marks_at_issue)) {}

  std::unique_ptr<TrackerObjects> load() {
    open();
    size_maps();
    choose_programs();
    if (const int failure = write_tracker_bpf__load(skeleton_.get())) throw_unavailable("loading", -failure);
    keep_maps();
    fill_state();
    if (auto pins = PinDirectory::create(options_.bpffs, device_)) objects_->pins_.emplace(std::move(*pins));
    for (const auto& [tracepoint, program] : chosen_)
      if (!share(tracepoint, program)) attach_copies(tracepoint, program);
    objects_->skips_before_ = objects_->skips();
    if (objects_->pins_) objects_->pin_all();
    return std::move(objects_);
  }

 private:
  void open() {
    listen_to_libbpf();
    if (running_release() < Release{5, 15}) throw Error(Errc::tracker_unavailable, "Linux 5.15 or newer is needed");
    skeleton_.reset(write_tracker_bpf__open());
    if (!skeleton_) throw_unavailable("opening", errno);
    skeleton_->rodata->config = config_;
  }

  void size_maps() {
    const auto bits = divide_up(device_.sectors(), std::uint64_t{1} << config_.shift);
    const auto elements = divide_up(bits, VM_WORD_BLOCKS * VM_ELEMENT_WORDS);
    set_size(skeleton_->maps.dirty, elements);
    set_size(skeleton_->maps.pending, divide_up(elements, VM_ELEMENT_WORDS));
    if (!device_.is_bio_based()) return;
    set_size(skeleton_->maps.unsure, divide_up(bits, 1U << VM_CHUNK_SHIFT));
    set_size(skeleton_->maps.in_flight, 1U << VM_BUCKET_BITS);
  }

  static void set_size(bpf_map* map, std::uint64_t entries) {
    bpf_map__set_max_entries(map, static_cast<__u32>(entries));
  }

  void choose_programs() {
    if (device_.is_bio_based()) {
      chosen_.emplace_back("block_bio_queue", "on_bio_queued_");
      if (!options_.marks_at_issue) chosen_.emplace_back(kBioEnd, "on_bio_complete_");
    } else if (options_.marks_at_issue) {
      chosen_.emplace_back("block_rq_issue", "on_write_issued_");
    } else {
      chosen_.emplace_back("block_rq_complete", "on_write_complete_");
    }
    for (const auto& [tracepoint, program] : chosen_)
      for (unsigned copy = 0; copy < copies_on(config_, tracepoint); ++copy)
        bpf_program__set_autoload(find(program, copy), true);
  }

  bpf_program* find(const std::string& program, unsigned copy) {
    return bpf_object__find_program_by_name(skeleton_->obj, (program + std::to_string(copy)).c_str());
  }

  void keep_maps() {
    for (const char* name : kMapNames) {
      const int fd = bpf_object__find_map_fd_by_name(skeleton_->obj, name);
      objects_->maps_[name] = duplicate(fd, name);
    }
    objects_->map_shared();
  }

  void fill_state() {
    auto& state = objects_->state();
    state.config = config_;
    state.backing_device = device_.identity().backing_device;
    state.backing_inode = device_.identity().backing_inode;
    state.layout = VM_STATE_LAYOUT;
  }

  /// Where programs can be preempted each tracker watches how deeply its own nest.
  bool share(const std::string& tracepoint, const std::string& program) {
    if (tracepoint != "block_rq_complete" || config_.copies > SharedPrograms::kCopiesMax) return false;
    std::vector<int> programs;
    for (unsigned copy = 0; copy < config_.copies; ++copy) programs.push_back(bpf_program__fd(find(program, copy)));
    std::shared_ptr<SharedPrograms> shared;
    try {
      shared = SharedPrograms::get(config_.copies);
      auto slot = shared->add(config_.disk, programs);
      if (!slot) return false;
      objects_->slot_.emplace(std::move(*slot));
    } catch (const Error& failure) {   // our own cost more, and do the same
      log(LogLevel::warn, "event=not_shared failure=\"" + std::string(failure.what()) + "\"");
      return false;
    }
    objects_->state().is_shared = 1;
    for (const UniqueFd& link : shared->links())
      objects_->links_[tracepoint].push_back(duplicate(link.get(), tracepoint));
    for (const auto& [name, map] : shared->maps()) objects_->maps_[name] = duplicate(map, name);
    return true;
  }

  void attach_copies(const std::string& tracepoint, const std::string& program) {
    for (unsigned copy = 0; copy < copies_on(config_, tracepoint); ++copy) {
      const bpf_program* found = find(program, copy);
      const bool has_name = bpf_program__type(found) == BPF_PROG_TYPE_TRACING;   // in itself
      const int link =
          ::bpf_raw_tracepoint_open(has_name ? nullptr : tracepoint.c_str(), bpf_program__fd(found));
      if (link < 0) throw_unavailable("attaching to " + tracepoint, errno);
      objects_->links_[tracepoint].emplace_back(link);
    }
  }

  const TrackedDevice& device_;
  const TrackerObjects::Options& options_;
  vm_config config_;
  Skeleton skeleton_;
  std::vector<std::pair<std::string, std::string>> chosen_;  ///< tracepoint and program, without the number of the copy
  std::unique_ptr<TrackerObjects> objects_{new TrackerObjects()};
};

std::unique_ptr<TrackerObjects> TrackerObjects::load(const TrackedDevice& device, const Options& options) {
  return TrackerLoader(device, options).load();
}

std::unique_ptr<TrackerObjects> TrackerObjects::take_over(const TrackedDevice& device,
                                                          const std::filesystem::path& bpffs) {
  std::unique_ptr<TrackerObjects> objects(new TrackerObjects());
  objects->pins_.emplace(PinDirectory::take_over(bpffs, device));
  try {
    for (const auto& name : objects->pins_->names())
      if (const auto dash = name.find('-'); dash != std::string::npos)
        objects->links_[name.substr(0, dash)].push_back(objects->pins_->get(name));
      else
        objects->maps_[name] = objects->pins_->get(name);
    for (const char* name : kMapNames)
      if (!objects->maps_.contains(name)) throw Error(Errc::tracking_lost, std::string("no map ") + name);
    objects->map_shared();
  } catch (const Error& failure) {
    throw Error(Errc::tracking_lost, "the abandoned write tracker is incomplete: " + std::string(failure.what()));
  }
  const auto& config = objects->state().config;
  const std::size_t tracepoints = device.is_bio_based() ? 2 : 1;
  const std::size_t maps =
      std::size(kMapNames) + (objects->state().is_shared ? SharedPrograms::map_count(config.copies) : 0);
  bool is_complete = objects->state().layout == VM_STATE_LAYOUT && objects->links_.size() == tracepoints &&
                     objects->maps_.size() == maps;
  for (const auto& [tracepoint, links] : objects->links_)
    is_complete = is_complete && links.size() == copies_on(config, tracepoint);
  if (!is_complete) throw Error(Errc::tracking_lost, "the abandoned write tracker was never complete");
  return objects;
}

void TrackerObjects::map_shared() {
  const auto whole = [this](const char* name) {
    bpf_map_info info{};
    __u32 bytes = sizeof info;
    const int map = maps_.at(name).get();
    check_syscall(::bpf_obj_get_info_by_fd(map, &info, &bytes), "bpf_obj_get_info_by_fd", name);
    const std::uint64_t content = std::uint64_t{info.max_entries} * info.value_size;
    return MapWindow(map, 0, divide_up(content, page_bytes()) * page_bytes());
  };
  state_.emplace(whole("state"));
  pending_.emplace(whole("pending"));
  unsure_.emplace(whole("unsure"));
  in_flight_.emplace(whole("in_flight"));
}

void TrackerObjects::pin_all() {
  try {
    for (const auto& [name, map] : maps_) pins_->pin(map.get(), name);
    for (const auto& [tracepoint, links] : links_)
      for (std::size_t copy = 0; copy < links.size(); ++copy)
        pins_->pin(links[copy].get(), tracepoint + "-" + std::to_string(copy));
  } catch (const Error& failure) {
    log(LogLevel::warn, "event=pin failure=\"" + std::string(failure.what()) + "\"");
    pins_.reset();
  }
}

std::uint64_t TrackerObjects::dirty_words() const {
  const auto& config = state().config;
  const auto bits = divide_up(config.end - config.start, std::uint64_t{1} << config.shift);
  const auto bytes = divide_up(bits, VM_WORD_BLOCKS * VM_ELEMENT_WORDS) * sizeof(vm_element);
  return divide_up(bytes, page_bytes()) * page_bytes() / sizeof(std::uint64_t);
}

MapWindow TrackerObjects::map_dirty(std::uint64_t first_word) const {
  const auto offset = first_word * sizeof(std::uint64_t);
  const auto left = dirty_words() * sizeof(std::uint64_t) - offset;
  return MapWindow(maps_.at("dirty").get(), offset, std::min<std::uint64_t>(left, kWindowBytes));
}

std::vector<vm_slot> TrackerObjects::in_flight() const {
  const auto memory = in_flight_->words();
  const std::span slots(reinterpret_cast<vm_slot*>(memory.data()), memory.size_bytes() / sizeof(vm_slot));
  std::vector<vm_slot> remembered;
  for (const vm_slot& slot : slots)
    if (__atomic_load_n(&slot.bio, __ATOMIC_ACQUIRE) != 0) remembered.push_back(slot);
  return remembered;
}

TrackerObjects::Skips TrackerObjects::skips() const {
  Skips skips;
  for (const auto& [tracepoint, links] : links_)
    for (const auto& link : links) skips[tracepoint].push_back(skips_of(link.get(), tracepoint));
  return skips;
}

std::map<std::string, std::uint64_t> TrackerObjects::writes_skipped() const {
  std::map<std::string, std::uint64_t> fewest;
  for (const auto& [tracepoint, counts] : skips()) {
    if (tracepoint == kBioEnd) continue;
    const auto before = skips_before_.find(tracepoint);
    std::uint64_t least = UINT64_MAX;
    for (std::size_t copy = 0; copy < counts.size(); ++copy)
      least = std::min(least, counts[copy] - (before == skips_before_.end() ? 0 : before->second[copy]));
    fewest[tracepoint] = least;
  }
  return fewest;
}

}  // namespace vmigrate

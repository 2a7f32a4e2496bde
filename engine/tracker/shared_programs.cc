// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/tracker/shared_programs.h"

#include <array>
#include <cerrno>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/tracker/libbpf_failure.h"
#include "shared_programs.skel.h"

namespace vmigrate {
namespace {

struct SkeletonDeleter {
  void operator()(shared_programs_bpf* skeleton) const { shared_programs_bpf__destroy(skeleton); }
};

std::string table_name(unsigned copy) { return "table_" + std::to_string(copy); }

}  // namespace

std::shared_ptr<SharedPrograms> SharedPrograms::get(unsigned copies) {
  static std::mutex mutex;
  static std::array<std::weak_ptr<SharedPrograms>, kCopiesMax> latest;   // by copies - 1
  const std::lock_guard lock(mutex);
  auto shared = latest.at(copies - 1).lock();
  if (!shared) latest.at(copies - 1) = shared = std::shared_ptr<SharedPrograms>(new SharedPrograms(copies));
  return shared;
}

SharedPrograms::SharedPrograms(unsigned copies) {
  listen_to_libbpf();
  const std::unique_ptr<shared_programs_bpf, SkeletonDeleter> skeleton(shared_programs_bpf__open_and_load());
  if (!skeleton) throw_unavailable("loading", errno);
  targets_map_ = duplicate(bpf_map__fd(skeleton->maps.targets), "targets");
  window_.emplace(targets_map_.get(), 0, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  for (unsigned copy = 0; copy < copies; ++copy) {
    const auto name = table_name(copy);
    tables_.push_back(duplicate(bpf_object__find_map_fd_by_name(skeleton->obj, name.c_str()), name));
    const auto program = "hand_on_" + std::to_string(copy);
    const int fd = bpf_program__fd(bpf_object__find_program_by_name(skeleton->obj, program.c_str()));
    const int link = ::bpf_raw_tracepoint_open(nullptr, fd);
    if (link < 0) throw_unavailable("attaching to block_rq_complete", errno);
    links_.emplace_back(link);
  }
}

std::optional<SharedPrograms::Slot> SharedPrograms::add(std::uint32_t disk, std::span<const int> programs) {
  const std::lock_guard lock(mutex_);
  const auto found = free_slot(disk);
  if (!found) return std::nullopt;
  const std::uint32_t slot = *found;
  for (std::size_t copy = 0; copy < tables_.size(); ++copy)
    check_syscall(::bpf_map_update_elem(tables_[copy].get(), &slot, &programs[copy], BPF_ANY), "bpf_map_update_elem",
                  table_name(static_cast<unsigned>(copy)));
  // In this order: a program that sees the slot finds what it is for, and there.
  __atomic_store_n(&targets().disks[slot], disk, __ATOMIC_SEQ_CST);
  if (slot >= targets().count) __atomic_store_n(&targets().count, slot + 1, __ATOMIC_SEQ_CST);
  return Slot(shared_from_this(), slot);
}

std::optional<std::uint32_t> SharedPrograms::free_slot(std::uint32_t disk) const {
  std::optional<std::uint32_t> free;
  for (std::uint32_t slot = VM_TARGETS_MAX; slot-- > 0;) {
    if (targets().disks[slot] == disk) return std::nullopt;
    if (targets().disks[slot] == 0) free = slot;
  }
  return free;
}

void SharedPrograms::remove(std::uint32_t slot) noexcept {
  const std::lock_guard lock(mutex_);
  __atomic_store_n(&targets().disks[slot], 0, __ATOMIC_SEQ_CST);
  for (const UniqueFd& table : tables_) ::bpf_map_delete_elem(table.get(), &slot);
}

std::vector<std::pair<std::string, int>> SharedPrograms::maps() const {
  std::vector<std::pair<std::string, int>> maps{{"targets", targets_map_.get()}};
  for (unsigned copy = 0; copy < tables_.size(); ++copy) maps.emplace_back(table_name(copy), tables_[copy].get());
  return maps;
}

vm_targets& SharedPrograms::targets() const { return *reinterpret_cast<vm_targets*>(window_->words().data()); }

}  // namespace vmigrate

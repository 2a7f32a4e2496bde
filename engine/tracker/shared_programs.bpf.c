// SPDX-License-Identifier: GPL-2.0
// One set of programs on the tracepoint for all trackers of a process. What a tracker attaches costs every write of the
// host, whatever its disk, some 60 ns a program. Here each event is looked up once, and handed on to the programs of
// its own disk only (write_tracker.bpf.c), which take the place of ours.
#include <linux/bpf.h>
#include <stdbool.h>

#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "dirty_map.h"
#include "disk_number.h"
#include "interruption.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct vm_targets);
} targets SEC(".maps");

static __always_inline int slot_of(struct request *rq)
{
  __u32 zero = 0;
  struct gendisk *disk = disk_of_request(rq);
  struct vm_targets *t = bpf_map_lookup_elem(&targets, &zero);
  if (!disk || !t) return -1;
  __u32 number = number_of(disk);
  for (__u32 slot = 0; slot < VM_TARGETS_MAX; slot++) {
    if (slot >= t->count) return -1;
    if (t->disks[slot] == number) return slot;
  }
  return -1;
}

/* To a slot that is a constant the kernel jumps directly. Any other is an indirect jump: 30 ns with retpolines. */
#define HAND_ON_TO(constant, n) \
  if (slot == constant) bpf_tail_call_static(ctx, &table_##n, constant);

/* A copy hands on to the same copy of the disk's own program, if it is needed. */
#define COPY(n)                                                                                             \
  struct {                                                                                                  \
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                  \
    __uint(max_entries, VM_TARGETS_MAX);                                                                    \
    __type(key, __u32);                                                                                     \
    __type(value, __u32);                                                                                   \
  } table_##n SEC(".maps");                                                                                 \
  SEC("tp_btf/block_rq_complete")                                                                           \
  int BPF_PROG(hand_on_##n, struct request *rq)                                                             \
  {                                                                                                         \
    if (n > 0 && !may_interrupt(ctx)) return 0;                                                             \
    int slot = slot_of(rq);                                                                                 \
    HAND_ON_TO(0, n) HAND_ON_TO(1, n) HAND_ON_TO(2, n) HAND_ON_TO(3, n)                                     \
    if (slot > 3) bpf_tail_call(ctx, &table_##n, slot);                                                     \
    return 0;                                                                                               \
  }

COPY(0)
COPY(1)
COPY(2)

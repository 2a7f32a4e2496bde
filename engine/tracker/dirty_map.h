/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel's half (write_tracker.bpf.c) and ours (bpf_write_tracker.cc) share: the layout of the maps. Compiled
 * by both compilers; docs/dirty-tracking.md says what each field is for. */
#pragma once

#include <linux/types.h>

enum {
  VM_WORD_BLOCKS = 64,       /* bits in a word of the dirty map */
  VM_ELEMENT_WORDS = 64,     /* words in an element: see struct vm_element */
  VM_CHUNK_SHIFT = 12,       /* log2(bits) that one word of the `unsure` map stands for */
  VM_COPIES_MAX = 8,         /* copies of each program in the object */
  VM_LEVELS = 2,             /* on which events happen: task, interrupt */
  VM_BUCKET_BITS = 14,       /* log2(buckets of the in_flight map) */
  VM_BUCKET_SLOTS = 4,       /* bios of one bucket whose range is remembered at a time */
  VM_TARGETS_MAX = 64,       /* disks that one set of programs serves */
  VM_STATE_LAYOUT = 3,       /* raised with every change of these structures: adopt() refuses another's */
};

/* Why the map cannot be trusted any more. Bits of vm_state.lost; they are never cleared. */
enum {
  VM_LOST_PASSTHROUGH = 1,  /* a command of unknown effect went past the block layer (SG_IO, NVMe ioctl) */
  VM_LOST_DISKSEQ = 2,      /* the device carries another medium now */
  VM_LOST_DEPTH = 4,        /* programs interrupted each other so deeply that an event may have been skipped */
  VM_LOST_RANGE = 8,        /* a range did not fit into the map: a fault of ours, never seen */
  VM_LOST_CHAIN = 16,       /* a discard consisted of more pieces than we follow */
};

/* What the programs are told before they are loaded. Constant for them, so that the verifier drops dead branches. */
struct vm_config {
  __u64 start;    /* first sector of the disk that is tracked */
  __u64 end;      /* the sector after the last one */
  __u64 diskseq;  /* the medium; 0 where the kernel does not count them */
  __u32 disk;     /* the whole disk: major << 20 | first minor */
  __u32 shift;    /* log2(sectors per bit) */
  __u32 copies;   /* how many copies of on_write_complete are attached; of on_bio_complete always one */
  __u32 watch_depth;    /* we do not know what an event can interrupt on this kernel: watch how deeply they nest */
  __u32 mark_at_issue;  /* for tests only: mark when a write is submitted and not when it ends, which is wrong */
  __u32 queue_copies;   /* the same of on_bio_queued */
};

/* An element of the dirty map. For user space the map is one array of words; for the verifier it has to come in pieces,
 * since it follows at most 8192 undecided jumps on one path. */
struct vm_element {
  __u64 words[VM_ELEMENT_WORDS];
};

/* What one copy of the programs saw on one level. A cache line each, so that copies do not share one. */
struct vm_copy_count {
  __u64 sectors;
  __u64 baseline;  /* written by user space: `sectors` when the kernel's statistics were first read */
  __u64 unused[6];
};

/* The only element of the state map. User space writes all up to `is_shared` once, the programs the rest. */
struct vm_state {
  __u64 layout;
  struct vm_config config;
  __u64 baseline_sectors;    /* sectors written and discarded by the kernel's own statistics when tracking began */
  __u64 baseline_is_known;   /* 0 where the kernel keeps no statistics (queue/iostats) */
  __u64 backing_inode;       /* of a loop device's file, else 0 */
  __u64 backing_device;
  __u64 is_shared;           /* events come through SharedPrograms, whose maps are needed, too */
  __u64 lost;                /* VM_LOST_* */
  __u64 deepest;             /* nesting seen, if watched */
  __u64 unremembered;        /* bios whose range found no place in the in_flight map */
  __u64 baseline_is_exact;   /* written by user space once: nothing was being written when it was taken */
  __u64 pad[8];
  struct vm_copy_count counts[VM_LEVELS][VM_COPIES_MAX]; /* all on the first level with watch_depth */
};

/* A bio on its way, and the range it had when it was submitted. */
struct vm_slot {
  __u64 bio; /* its address; 0: the slot is free */
  __u64 sector;
  __u64 sectors;
};

/* An element of the in_flight map: the bios whose addresses have one hash. */
struct vm_bucket {
  struct vm_slot slots[VM_BUCKET_SLOTS];
};

/* The only element of the targets map: which disk each slot of the tables is for. User space writes it. */
struct vm_targets {
  __u32 count; /* slots beyond are free */
  __u32 disks[VM_TARGETS_MAX]; /* as vm_config.disk; 0: free */
};

#ifdef __cplusplus
#define VM_SIZE_IS(type, bytes) static_assert(sizeof(type) == (bytes))
#else
#define VM_SIZE_IS(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#endif
VM_SIZE_IS(struct vm_config, 48);
VM_SIZE_IS(struct vm_element, 512);
VM_SIZE_IS(struct vm_copy_count, 64);
VM_SIZE_IS(struct vm_state, 192 + 2 * 8 * 64);
VM_SIZE_IS(struct vm_bucket, 96);

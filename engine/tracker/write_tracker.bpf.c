// SPDX-License-Identifier: GPL-2.0
// The kernel's half of the write tracker: sets a bit for every block of one device that was written.
//
//  * A device with request queues is marked when a request completes: the data has landed by then. A mark at submission
//    could be drained, and the old data read, before the write lands, and nothing would set the bit again.
//  * A device without (dm, md, zram, brd) fires no request events. Its bios are marked when they end; their range is
//    remembered from their submission, because drivers consume, trim or redirect a bio.
//  * Since 6.1 the kernel skips a program that is interrupted by an event of its own tracepoint. So each program is
//    attached in several copies, one more than there are contexts that an event of the device can interrupt. (Bios
//    are submitted on one level only, and what a task completes needs one copy only. Nor is a skipped end of a bio a
//    loss: the bio stays remembered.)
//
// Every mark is an atomic operation that returns the old value, which is a full barrier on every architecture: whoever
// takes the bit afterwards sees the data. docs/dirty-tracking.md argues the whole.
#include <linux/bpf.h>
#include <stdbool.h>

#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "address.h"
#include "dirty_map.h"
#include "disk_number.h"
#include "interruption.h"

char LICENSE[] SEC("license") = "GPL";

enum { OP_MASK = 0xff, OP_DISCARD = 3, OP_DRV_IN = 34, OP_DRV_OUT = 35 };
enum { SECTOR_SHIFT = 9, DISCARD_BIOS_MAX = 260 };

/* Sectors marked per call of mark_piece(), which bounds what the verifier has to follow: 512 MiB, 32 elements of 4 KiB
 * blocks. */
#define PIECE_SECTORS (1ULL << 20)
/* A bio or request is shorter than 4 GiB: 8 pieces, and one for an unaligned end. */
#define PIECES_MAX 9
#define PIECE_ELEMENTS_MAX 34

const volatile struct vm_config config = {};

/* max_entries is set before loading, to the size of the device. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct vm_state);
} state SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct vm_element);
} dirty SEC(".maps");

/* User space only: one bit for each word of `dirty` that was drained and not yet acknowledged. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct vm_element);
} pending SEC(".maps");

/* Chunks in which a bio ended that nobody could remember: copied whole in the last round. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} unsure SEC(".maps");

/* A hash table of our own, of bio addresses: the kernel's takes a lock for each change, and with it twice the time. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct vm_bucket);
} in_flight SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} depth SEC(".maps");

/* clang drops the returning form of an atomic whose result nobody uses; the plain form is no barrier on arm64. */
#define KEEP(value) asm volatile("" ::"r"(value))

static __always_inline struct vm_state *the_state(void)
{
  __u32 zero = 0;
  return bpf_map_lookup_elem(&state, &zero);
}

static __always_inline void lose(__u64 why)
{
  struct vm_state *s = the_state();
  if (s) KEEP(__sync_fetch_and_or(&s->lost, why));
}

static __always_inline void set_bits(__u64 *word, __u32 first, __u32 last)
{
  KEEP(__sync_fetch_and_or(word, (~0ULL << first) & (~0ULL >> (63 - last))));
}

static __always_inline void set_word(__u64 *word)
{
  KEEP(__sync_lock_test_and_set(word, ~0ULL));
}

/* The marking functions are global, not static: the verifier checks each once by itself instead of once per path into
 * it. */

/* Marks words `first_word` to `last_word` of one element; `bits` is the first bit of the first word | last bit of the
 * last << 8. */
__noinline int mark_in_element(__u32 element, __u32 first_word, __u32 last_word, __u32 bits)
{
  struct vm_element *e = bpf_map_lookup_elem(&dirty, &element);
  if (!e) {
    lose(VM_LOST_RANGE);
    return 0;
  }
  first_word &= 63;
  last_word &= 63;
  if (first_word == last_word) {
    set_bits(&e->words[first_word], bits & 63, bits >> 8 & 63);
    return 0;
  }
  set_bits(&e->words[first_word], bits & 63, 63);
  set_bits(&e->words[last_word], 0, bits >> 8 & 63);
  /* One undecided branch a turn: with two the verifier of 6.1 gives up after a million instructions. */
  for (__u32 turn = 0; turn < VM_ELEMENT_WORDS - 2; turn++) {
    first_word++;
    if (first_word >= last_word) break;
    __u32 index = first_word;
    asm volatile("%0 &= 63" : "+r"(index)); /* keeps clang from turning the index into a moving pointer */
    set_word(&e->words[index]);
  }
  return 0;
}

__noinline int mark_element(__u32 element)
{
  struct vm_element *e = bpf_map_lookup_elem(&dirty, &element);
  if (!e) {
    lose(VM_LOST_RANGE);
    return 0;
  }
  for (__u32 index = 0; index < VM_ELEMENT_WORDS; index++) set_word(&e->words[index]);
  return 0;
}

/* Marks at most PIECE_SECTORS. */
__noinline int mark_piece(__u64 sector, __u64 sectors)
{
  __u64 end = sector + sectors;
  if (sector < config.start) sector = config.start;
  if (end > config.end) end = config.end;
  if (sector >= end) return 0; /* another partition, or a flush without data */

  __u64 first = (sector - config.start) >> config.shift;
  __u64 last = (end - 1 - config.start) >> config.shift;
  __u32 first_element = first >> 12, last_element = last >> 12;
  __u32 first_bit = first & 63, last_bit = last & 63;
  if (first_element == last_element) {
    mark_in_element(first_element, first >> 6, last >> 6, first_bit | last_bit << 8);
    return 0;
  }
  mark_in_element(first_element, first >> 6, 63, first_bit | 63 << 8);
  mark_in_element(last_element, 0, last >> 6, last_bit << 8);
  for (__u32 turn = 1; turn <= PIECE_ELEMENTS_MAX; turn++) {
    if (first_element + turn >= last_element) return 0;
    mark_element(first_element + turn);
  }
  lose(VM_LOST_RANGE);
  return 0;
}

__noinline int mark(__u64 sector, __u64 sectors)
{
  for (int piece = 0; piece < PIECES_MAX; piece++) {
    mark_piece(sector, sectors < PIECE_SECTORS ? sectors : PIECE_SECTORS);
    if (sectors <= PIECE_SECTORS) return 0;
    sector += PIECE_SECTORS;
    sectors -= PIECE_SECTORS;
  }
  lose(VM_LOST_RANGE);
  return 0;
}

/* Which copy of a program runs, and on which level. */
struct place {
  __u32 copy, level;
};

static __always_inline __u32 level_of(void *context)
{
  return config.watch_depth ? 0 : may_interrupt(context);
}

/* The first copy is never busy when a task has an event. */
static __always_inline bool is_needed(__u32 copy, void *context)
{
  return copy == 0 || config.watch_depth || may_interrupt(context);
}

/* Counts what lies in the window: compared with the kernel's own statistics, which are in sectors, too. */
static __always_inline void count(struct place place, __u64 sector, __u64 sectors)
{
  __u64 end = sector + sectors;
  struct vm_state *s = the_state();
  if (!s) return;
  if (sector < config.start) sector = config.start;
  if (end > config.end) end = config.end;
  if (sector >= end) return;
  __sync_fetch_and_add(&s->counts[place.level][place.copy].sectors, end - sector);
}

static __always_inline bool is_ours(struct gendisk *disk)
{
  if (!disk || number_of(disk) != config.disk) return false;
  struct gendisk___numbered *numbered = (void *)disk;
  if (config.diskseq && bpf_core_field_exists(numbered->diskseq) && numbered->diskseq != config.diskseq)
    lose(VM_LOST_DISKSEQ);
  return true;
}

/* All copies busy on this CPU: the next event may be skipped. Noticed one level early, so nothing was missed unseen. */
static __always_inline __u64 *enter(void)
{
  __u32 zero = 0;
  if (!config.watch_depth) return 0;
  __u64 *levels = bpf_map_lookup_elem(&depth, &zero);
  if (!levels) return 0;
  __u64 now = __sync_fetch_and_add(levels, 1) + 1;
  if (now >= config.copies) lose(VM_LOST_DEPTH);
  struct vm_state *s = the_state();
  if (s && now > s->deepest) s->deepest = now;
  return levels;
}

static __always_inline void leave(__u64 *levels)
{
  if (levels) __sync_fetch_and_add(levels, (__u64)-1);
}

/* Discards are merged though their ranges are not adjacent: the request's own range is a fiction then. */
static __always_inline void mark_discard(struct request *rq, struct place place)
{
  struct bio *bio = rq->bio;
  for (int turn = 0; turn < DISCARD_BIOS_MAX; turn++) {
    if (!bio) return;
    __u64 sector = bio->bi_iter.bi_sector, sectors = bio->bi_iter.bi_size >> SECTOR_SHIFT;
    count(place, sector, sectors);
    mark(sector, sectors);
    bio = bio->bi_next;
  }
  lose(VM_LOST_CHAIN);
}

/* A failed write may have landed in part, so errors are marked like successes. After a partial completion the kernel
 * has moved __sector on. */
static __always_inline void mark_request(struct request *rq, __u32 bytes, struct place place)
{
  if (!is_ours(disk_of_request(rq))) return;
  __u32 op = rq->cmd_flags & OP_MASK;
  if (op == OP_DRV_OUT) lose(VM_LOST_PASSTHROUGH);
  if (op == OP_DRV_IN || op == OP_DRV_OUT || !(op & 1)) return; /* every writing operation has an odd number */
  if (op == OP_DISCARD) {
    mark_discard(rq, place);
    return;
  }
  count(place, rq->__sector, bytes >> SECTOR_SHIFT);
  mark(rq->__sector, bytes >> SECTOR_SHIFT);
}

static __always_inline void mark_unsure(__u64 sector, __u64 sectors)
{
  if (sector < config.start || !sectors) return;
  __u64 first = (sector - config.start) >> config.shift >> VM_CHUNK_SHIFT;
  __u64 last = (sector + sectors - 1 - config.start) >> config.shift >> VM_CHUNK_SHIFT;
  struct vm_state *s = the_state();
  if (s) __sync_fetch_and_add(&s->unremembered, 1);
  for (int turn = 0; turn < 258; turn++) {
    __u32 chunk = first + turn;
    if (chunk > last) break;
    __u64 *word = bpf_map_lookup_elem(&unsure, &chunk);
    if (word) set_word(word);
  }
}

static __always_inline struct vm_bucket *bucket_of(__u64 bio)
{
  __u32 index = bio * 0x9e3779b97f4a7c15ULL >> (64 - VM_BUCKET_BITS);
  return bpf_map_lookup_elem(&in_flight, &index);
}

static __always_inline struct vm_slot *find_slot(struct vm_bucket *bucket, __u64 bio)
{
  for (int at = 0; at < VM_BUCKET_SLOTS; at++)
    if (bucket->slots[at].bio == bio) return &bucket->slots[at];
  return 0;
}

/* Whoever takes the slot is the only one who knows of this bio until it is sent on, after this event. */
static __always_inline struct vm_slot *take_slot(struct vm_bucket *bucket, __u64 bio)
{
  for (int at = 0; at < VM_BUCKET_SLOTS; at++)
    if (__sync_val_compare_and_swap(&bucket->slots[at].bio, 0, bio) == 0) return &bucket->slots[at];
  return 0;
}

/* Whoever finds no room to remember it has to copy the whole chunk. */
static __always_inline void remember(__u64 address, __u64 sector, __u64 sectors, __u32 copy)
{
  struct vm_bucket *bucket = bucket_of(address);
  if (!bucket) return lose(VM_LOST_RANGE);
  struct vm_slot *slot = find_slot(bucket, address);
  if (slot) {
    /* Another copy remembered this very bio. Or its memory had a former life whose end nobody saw: that data has
     * landed. If both had one range it is marked at the end of this life at the latest. */
    if (copy && slot->sector == sector && slot->sectors == sectors) return;
    mark(slot->sector, slot->sectors);
  } else {
    slot = take_slot(bucket, address);
  }
  if (slot) {
    slot->sector = sector;
    slot->sectors = sectors;
  } else {
    mark_unsure(sector, sectors);
  }
}

static __always_inline void note_bio(struct bio *bio, struct place place)
{
  if (!is_ours(bio->bi_bdev->bd_disk)) return;
  if (!(bio->bi_opf & 1)) return; /* OP_MASK leaves the lowest bit as it is */
  __u64 sector = bio->bi_iter.bi_sector, sectors = bio->bi_iter.bi_size >> SECTOR_SHIFT;
  if (!sectors) return;
  count(place, sector, sectors);
  if (config.mark_at_issue)
    mark(sector, sectors);
  else
    remember(address_of(bio), sector, sectors, place.copy);
}

/* Does not ask whose bio it is: it may have been sent on to another device in place. If the kernel skips it, the bio
 * stays remembered, until the last drain hands it out or the next bio at its address marks it. */
static __always_inline void mark_bio(__u64 address)
{
  struct vm_bucket *bucket = bucket_of(address);
  struct vm_slot *slot = bucket ? find_slot(bucket, address) : 0;
  if (!slot) return;
  mark(slot->sector, slot->sectors);
  *(volatile __u64 *)&slot->bio = 0; /* after the mark, which is a barrier */
}

/* "?": not loaded unless asked for. tracker_objects.cc picks by name: the programs for the kind of device, and as
 * many copies as the kernel needs. */
#define COPY(n)                                                                                             \
  SEC("?tp_btf/block_rq_complete")                                                                          \
  int BPF_PROG(on_write_complete_##n, struct request *rq, int error, unsigned int bytes)                    \
  {                                                                                                         \
    if (!is_needed(n, ctx)) return 0;                                                                       \
    __u64 *levels = enter();                                                                                \
    mark_request(rq, bytes, (struct place){n, level_of(ctx)});                                              \
    leave(levels);                                                                                          \
    return 0;                                                                                               \
  }                                                                                                         \
  SEC("?tp_btf/block_bio_queue") /* of tasks only, so it has one level */                                   \
  int BPF_PROG(on_bio_queued_##n, struct bio *bio)                                                          \
  {                                                                                                         \
    __u64 *levels = enter();                                                                                \
    note_bio(bio, (struct place){n, 0});                                                                    \
    leave(levels);                                                                                          \
    return 0;                                                                                               \
  }

COPY(0)
COPY(1)
COPY(2)
COPY(3)
COPY(4)
COPY(5)
COPY(6)
COPY(7)

/* One copy: see mark_bio(). It gets the address as a number, and no more is needed. */
SEC("?raw_tp/block_bio_complete")
int on_bio_complete_0(struct bpf_raw_tracepoint_args *context)
{
  mark_bio(context->args[1]);
  return 0;
}

/* For tests only: the wrong moment to mark, so that the stress test can be shown to notice. */
SEC("?tp_btf/block_rq_issue")
int BPF_PROG(on_write_issued_0, struct request *rq)
{
  mark_request(rq, rq->__data_len, (struct place){0, 0});
  return 0;
}

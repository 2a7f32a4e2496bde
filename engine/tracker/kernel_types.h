/* SPDX-License-Identifier: GPL-2.0 */
/* The few fields of kernel structures that the programs read. Only names matter: libbpf looks each field up in the
 * running kernel's type information (CO-RE) and patches its offset and size in. A "___" suffix is a second form of a
 * structure. */
#pragma once

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct request_queue;

struct gendisk {
  int major;
  int first_minor;
};

struct gendisk___numbered { /* since 5.15 */
  __u64 diskseq;
};

struct block_device {
  struct gendisk *bd_disk;
};

struct bvec_iter {
  __u64 bi_sector;
  unsigned int bi_size;
};

struct bio {
  struct bio *bi_next;
  struct block_device *bi_bdev;
  unsigned int bi_opf;
  struct bvec_iter bi_iter;
};

struct request {
  struct request_queue *q;
  unsigned int cmd_flags;
  unsigned int __data_len;
  __u64 __sector;
  struct bio *bio;
};

struct request___with_disk { /* until 5.16 */
  struct gendisk *rq_disk;
};

struct task_struct {
  void *stack;
};

struct request_queue {
  struct gendisk *disk;
};

#pragma clang attribute pop

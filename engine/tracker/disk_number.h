/* SPDX-License-Identifier: GPL-2.0 */
/* Which disk a request goes to, for the programs in the kernel. */
#pragma once

static __always_inline struct gendisk *disk_of_request(struct request *rq)
{
  struct request___with_disk *old = (void *)rq;
  if (bpf_core_field_exists(old->rq_disk)) return old->rq_disk;
  return rq->q->disk;
}

/* As vm_config.disk. */
static __always_inline __u32 number_of(struct gendisk *disk)
{
  return (__u32)disk->major << 20 | (__u32)disk->first_minor;
}

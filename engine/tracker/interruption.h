/* SPDX-License-Identifier: GPL-2.0 */
/* Whether an event may have interrupted a program, for the programs in the kernel. */
#pragma once

#include "address.h"

enum { TASK_STACK_BYTES = 16384 }; /* the smallest; what lies beyond counts as another stack */

/* On x86-64 and arm64 an interrupt that finds the kernel at work leaves the task's stack for one of its own, and what
 * it raises runs there, too (on arm64 since 6.1; older kernels skip nothing). So an event whose arguments lie on the
 * task's stack has interrupted no program on this processor; and where programs cannot be preempted, none of another
 * task is under way either. */
static __always_inline bool may_interrupt(void *context)
{
  struct task_struct *task = bpf_get_current_task_btf();
  return address_of(context) - (__u64)task->stack >= TASK_STACK_BYTES;
}

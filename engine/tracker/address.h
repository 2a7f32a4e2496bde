/* SPDX-License-Identifier: GPL-2.0 */
/* Pointers as numbers, for the programs in the kernel. */
#pragma once

/* The verifier refuses sums and shifts of a pointer, but takes its negative for a number. (bpf_probe_read_kernel() of
 * the pointer's own place does the same in ten times the time.) */
static __always_inline __u64 address_of(void *pointer)
{
  __u64 negative = (__u64)pointer;
  asm volatile("%0 = -%0" : "+r"(negative));
  return -negative;
}

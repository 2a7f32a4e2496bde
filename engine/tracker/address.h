/* SPDX-License-Identifier: GPL-2.0 */
/* Pointers as numbers, for the programs in the kernel. */
#pragma once

/* The verifier refuses sums and shifts of a pointer, but takes one with its bytes in another order for a number. (Linux
 * 6.17.0 to 6.17.2 do not take its negative for one. bpf_probe_read_kernel() of the pointer's own place does the same,
 * in ten times the time.) */
static __always_inline __u64 address_of(void *pointer)
{
  __u64 address = (__u64)pointer;
  asm volatile("%0 = be64 %0\n%0 = be64 %0" : "+r"(address));
  return address;
}

// Memory on huge pages, for what requests meet at random: the snapshot's keys and routes, replicas, connections. On
// pages of 4 KB each of them would cost a walk through the page tables besides. Where the kernel gives no huge pages it
// is ordinary memory. What is freed is kept for the next of its size. Any thread; a lock is taken, so not for the hot
// path.
#ifndef GATEWAY_HUGE_H
#define GATEWAY_HUGE_H

#include <stddef.h>

// Zeroed, on a cache line's boundary, never NULL: without memory the process ends.
void *gw_huge_alloc(size_t n);
void gw_huge_free(void *p, size_t n);  // n as it was asked for; p may be NULL

#endif

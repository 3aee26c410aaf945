// The single-producer, single-consumer ring; see usage.h.
#include "usage.h"

#include <stdlib.h>
#include <string.h>

gw_usage_ring *gw_usage_ring_new(void) {
  gw_usage_ring *ring = aligned_alloc(64, sizeof *ring);
  if (!ring) {
    abort();
  }
  memset(ring, 0, sizeof *ring);
  return ring;
}

void gw_usage_push(gw_usage_ring *ring, const gw_usage_record *record) {
  uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
  if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) >= GW_USAGE_RING) {
    atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
    return;
  }
  ring->records[head % GW_USAGE_RING] = *record;
  atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

bool gw_usage_pop(gw_usage_ring *ring, gw_usage_record *out) {
  uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
  if (tail == atomic_load_explicit(&ring->head, memory_order_acquire)) {
    return false;
  }
  *out = ring->records[tail % GW_USAGE_RING];
  atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
  return true;
}

// The gateway's Prometheus metrics (docs/metrics.md lists them). A loop counts into a gw_metrics of its own: one
// writer, so a count is a load, an addition and a store, without a lock, a shared cache line or a lookup. /metrics adds
// the loops up when it is asked. A gw_metrics outlives its loop, so that no total ever goes back.
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ecolink/status.h"
#include "replica.h"

enum { GW_STATUS_MIN = 100, GW_STATUS_END = 600, GW_METRIC_BOUNDS = 18 };

typedef struct gw_histogram {
  _Atomic uint64_t buckets[GW_METRIC_BOUNDS + 1];  // the last: above every bound
  _Atomic uint64_t sum_us;
} gw_histogram;

// Written by one loop, read by the admin thread.
typedef struct gw_metrics {
  _Atomic uint64_t answers[GW_STATUS_END - GW_STATUS_MIN];
  _Atomic uint64_t unanswered;  // ended without a status
  _Atomic uint64_t errors[ECO_CODE_COUNT];
  _Atomic uint64_t failures[GW_FAILURES];
  _Atomic uint64_t prompt_tokens;
  _Atomic uint64_t completion_tokens;
  _Atomic uint64_t ejections;
  _Atomic uint64_t retries;
  _Atomic uint64_t connects;
  _Atomic uint64_t reuses;
  // gauges
  _Atomic uint64_t clients;
  _Atomic uint64_t in_flight;
  _Atomic uint64_t streams;
  _Atomic uint64_t upstreams_idle;
  _Atomic uint64_t held_bytes;
  _Atomic uint64_t blocks_used;
  _Atomic uint64_t blocks_free;
  gw_histogram request;
  gw_histogram first_byte;
  gw_histogram first_content;
  gw_histogram event_gap;
  struct gw_metrics *next;  // of those made before
} gw_metrics;

// Before the first loop.
void gw_metrics_init(void);
// For a loop; never freed.
gw_metrics *gw_metrics_new(void);

// ---- the loop's own thread ----
static inline void gw_metrics_add(_Atomic uint64_t *count, int64_t n) {
  atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + (uint64_t)n, memory_order_relaxed);
}
static inline void gw_metrics_set(_Atomic uint64_t *gauge, uint64_t v) {
  atomic_store_explicit(gauge, v, memory_order_relaxed);
}
static inline bool gw_metrics_is(const _Atomic uint64_t *gauge, uint64_t v) {
  return atomic_load_explicit(gauge, memory_order_relaxed) == v;
}
void gw_metrics_observe(gw_histogram *h, uint64_t ns);
void gw_metrics_answer(gw_metrics *m, int status, uint64_t ns);

// ---- the bus thread, several times a second ----
void gw_metrics_snapshot(size_t keys, size_t routes);
void gw_metrics_spool(int64_t bytes, int64_t dropped);
// The bus confirmed the snapshot at this time (CLOCK_BOOTTIME); until then its age counts from gw_metrics_init.
void gw_metrics_confirmed(int64_t boottime_ms);

#endif

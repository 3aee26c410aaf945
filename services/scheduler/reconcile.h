// One pass of one region: observe, judge whose turn it is (roster.h, reconcile_rules.h), write, act. Called by the
// region's thread while it leads.
#ifndef SCHEDULER_RECONCILE_H
#define SCHEDULER_RECONCILE_H

#include <stdatomic.h>

#include "pace.h"
#include "reconcile_rules.h"
#include "roster.h"
#include "store.h"

// What a region's thread keeps between passes. Zeroed at first; reconcile_forget when leadership is lost.
typedef struct region_memory {
  char name[SCHED_REGION_MAX];
  driver *driver;
  atomic_bool woken;  // by any thread: there is news, the next pass shall come at once
  int64_t epoch;
  int64_t last_pass_ms;       // boot time of the last pass that saw the region
  int64_t last_watermark_ms;  // and of the last one that advanced its watermark
  int64_t failing_since_ms;   // the driver's list fails since; 0: it works
  bool prune_refused;
  // what the last look saw, and until when it stands while nothing changes; 0: the next pass looks
  int64_t next_look_ms;
  uint64_t driver_version;
  store_stamp stamp;  // of the rows as they were judged
  roster roster;
} region_memory;

ECO_CHECKED eco_status reconcile_pass(eco_ctx *ctx, region_memory *region, int64_t epoch);
void reconcile_forget(region_memory *region);

#endif

// One pass of one region: observe, judge (reconcile_rules.h), write, act. Called by the region's thread while it leads.
#ifndef SCHEDULER_RECONCILE_H
#define SCHEDULER_RECONCILE_H

#include "pace.h"
#include "reconcile_rules.h"
#include "store.h"

typedef struct remembered {
  int64_t instance_id;
  int replica_id;
  replica_memory memory;
} remembered;

// What a region's thread keeps between passes. Zeroed at first; reconcile_forget when leadership is lost.
typedef struct region_memory {
  char name[SCHED_REGION_MAX];
  driver *driver;
  int64_t epoch;
  int64_t last_pass_ms;       // boot time of the last pass that saw the region
  int64_t last_watermark_ms;  // and of the last one that advanced its watermark
  int64_t failing_since_ms;   // the driver's list fails since; 0: it works
  bool prune_refused;
  // what the last whole pass saw, and until when it stands while nothing changes; 0: the next pass is a whole one
  int64_t next_whole_ms;
  uint64_t driver_version;
  store_stamp stamp;
  remembered *known;  // sorted by (instance, replica); malloc'd
  size_t known_count;
} region_memory;

ECO_CHECKED eco_status reconcile_pass(eco_ctx *ctx, region_memory *region, int64_t epoch);
void reconcile_forget(region_memory *region);

#endif

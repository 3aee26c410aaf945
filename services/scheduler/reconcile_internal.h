// One pass while it lasts: shared by its frame (reconcile.c), the judging of instances (reconcile_turn.c) and what is
// left over (reconcile_prune.c).
#ifndef SCHEDULER_RECONCILE_INTERNAL_H
#define SCHEDULER_RECONCILE_INTERNAL_H

#include "reconcile.h"

typedef struct sighting {
  eco_arena *arena;
  replica_observation *list;  // sorted by (instance, replica) when complete
  size_t count;
  size_t cap;
  bool overflow;
} sighting;

typedef struct pass {
  eco_ctx *ctx;
  region_memory *region;
  driver *driver;
  int64_t epoch;
  int64_t seen_us;
  int64_t watermark_us;
  int64_t highest_id;
  bool prune_confirmed;
  bool lost;                             // nothing is written there any more
  char trouble[ECO_STATUS_MESSAGE_MAX];  // what the region's row says
  sighting seen;
  roster_key *keys;  // what should be there, sorted
  size_t key_count;
  bool undecided;   // somebody's uptime is in doubt
  bool leaves_out;  // removes what has no row: it looks again soon
} pass;

const replica_observation *pass_seen(const pass *p, int64_t instance_id, int replica_id);  // NULL: nothing
ECO_CHECKED eco_status pass_check_lease(const pass *p, eco_tx *tx);

// Judges the instances whose turn it is, and acts. An instance that cannot be judged keeps its turn and is told in
// *failure; an error: the rest was not looked at.
ECO_CHECKED eco_status pass_judge(pass *p, eco_status *failure);

// What exists without a row is removed, under the prune guard.
void pass_prune(pass *p);

#endif

// What one pass of a region's reconciler makes of an instance: rows + observations + probes + memory + now -> new rows
// and effects. Pure; reconcile.c reads, calls this, and writes what it says.
//
// Level-triggered: nothing here depends on having seen what was before, except where uptime is proved (meter.h). Called
// for each instance that has a replica of the region which is not yet gone; it judges only this region's replicas and
// the instance as a whole. A region that could not be observed is not judged at all: unknown is not dead.
#ifndef SCHEDULER_RECONCILE_RULES_H
#define SCHEDULER_RECONCILE_RULES_H

#include "instance.h"
#include "meter.h"

typedef enum probe_result { PROBE_NONE, PROBE_OK, PROBE_FAILED } probe_result;

// What the observer remembers of a replica between passes. Lost at a restart and after a gap: zeroed then.
typedef struct replica_memory {
  char run_id[REPLICA_RUN_ID_MAX];
  int failures;                    // probes missed in a row
  bool applied;                    // the driver was given its specification since this observer began
  bool confirmed;                  // meter.h
  char trouble[SCHED_DETAIL_MAX];  // why the driver did not accept it; empty: it did
  int64_t last_ready_us;           // meter.h
  // its last good answer to our own question (pace.h): boot time (0: none), and what held then
  int64_t answered_ms;
  int64_t answered_version;
  int64_t answered_ready_us;
  int64_t silent_ms;  // boot time at which our last question ran out; 0: it was answered, somehow
} replica_memory;

typedef struct replica_facts {
  bool here;  // it is this region's, and these facts are about it
  replica_observation seen;
  probe_result probe;
  char probe_detail[SCHED_DETAIL_MAX];
  replica_memory memory;  // in and out
} replica_facts;

typedef enum effect_kind {
  EFFECT_INTERVAL_OPEN,   // at_us, run_id
  EFFECT_INTERVAL_CLOSE,  // at_us
  EFFECT_RUN_SEEN,        // run_id, at_us
  EFFECT_RUN_ENDED,       // run_id, at_us
  EFFECT_RELEASE,         // the replica's reservation
  EFFECT_EVENT,           // type, message; replica_id 0: about the instance
} effect_kind;

typedef struct effect {
  effect_kind kind;
  int replica_id;
  int64_t at_us;
  char run_id[REPLICA_RUN_ID_MAX];
  const char *type;  // a constant
  char message[SCHED_EVENT_MESSAGE_MAX];
} effect;

typedef enum driver_action { DO_NOTHING, DO_APPLY, DO_REMOVE } driver_action;

enum { PLAN_EFFECTS_MAX = 32 };

typedef struct reconcile_plan {
  effect effects[PLAN_EFFECTS_MAX];
  int effect_count;
  driver_action actions[SCHED_REPLICAS_MAX];
  bool move[SCHED_REPLICAS_MAX];  // its region had its chances: try another, if one has room
  bool undecided;                 // uptime in doubt: the region's watermark must not advance
  instance_status before;
} reconcile_plan;

// `inst` and `facts` (one per replica, by index) are changed in place. `seen_us`: business time when the observation
// began; `watermark_us`: the region's.
void reconcile_judge(instance_row *inst, replica_facts *facts, int64_t seen_us, int64_t watermark_us, int64_t now_us,
                     reconcile_plan *plan);
// Whether the rows or the history changed, so that a transaction is due.
bool reconcile_changed(const instance_row *inst, const reconcile_plan *plan);
// Which replicas the region's pass has to probe.
bool reconcile_wants_probe(const instance_row *inst, const replica_row *r, const replica_observation *seen,
                           const replica_memory *memory);
// 5 exits within 10 minutes since its attempt began, none of its runs Ready for 5 minutes. `exits` newest first,
// 0-terminated.
bool replica_crash_loops(const replica_row *r, const int64_t exits_us[REPLICA_EXITS_KEPT]);
// Objects without a row are removed, unless there are suspiciously many or they are newer than the database knows of.
bool prune_allowed(int orphans, int observed, int64_t highest_seen, int64_t highest_known);
// Seconds after which asking again makes sense while the instance starts.
int retry_after_estimate(int64_t startup_began_us, int64_t now_us);

#endif

// How soon an instance is judged again, and which replicas are asked again. Pure.
//
// A driver that tells its changes (driver_ops.version) lets passes be left out while neither the cluster nor a row has
// changed: a region of a thousand instances then costs a comparison a second. A pass that does look judges what has
// changed (roster.h), and what is due: whatever is pending soon, the settled once a minute, since nothing here may
// depend on having seen every change.
#ifndef SCHEDULER_PACE_H
#define SCHEDULER_PACE_H

#include "reconcile_rules.h"

enum {
  PACE_WAITING_MS = 2000,  // deadlines run, but nothing can be done before something changes
  PACE_QUIET_MS = 10000,   // a region is looked at so often in any case; what is due by then is taken together
  // A replica whose node judges it Ready is asked by ourselves so often; health's probes find sooner what ails it, and
  // their verdict is a change of the instance's row, after which it is asked at once.
  PACE_ASK_MS = 60000,
  // And one that its node judges Ready while our own question runs out: the region's pass waits for each such question
  // (SCHED_READY_TIMEOUT_MS), and with it whoever has news.
  PACE_SILENT_MS = 10000,
};

typedef enum pace { PACE_QUIET, PACE_WAITING, PACE_BUSY } pace;

// What an instance asks for after it was judged.
pace pace_of(const instance_row *inst, const replica_facts *facts, const reconcile_plan *plan);
// When it is judged again although nothing has changed: boot time; 0: by the next pass. facts: as they are after it was
// judged.
int64_t pace_due_ms(const instance_row *inst, const replica_facts *facts, const reconcile_plan *plan, int64_t now_ms);
// Whether a Ready replica need not be asked: its last answer was good, and nothing has changed since.
bool pace_trusts(const instance_row *inst, const replica_row *r, const replica_observation *seen,
                 const replica_memory *memory, int64_t now_ms);
// Whether a replica that is not Ready is still silent for all we know, and need not be asked.
bool pace_spares(const instance_row *inst, const replica_row *r, const replica_observation *seen,
                 const replica_memory *memory, int64_t now_ms);

#endif

// Applies a step of the lifecycle table to a row: status, times, what the owner reads. Pure: it changes the struct
// alone.
#ifndef SCHEDULER_TRANSITION_H
#define SCHEDULER_TRANSITION_H

#include "lifecycle.h"

// `reason` counts for stops and failures only. Returns what the table said; the caller turns ACT_REFUSE into 409.
lifecycle_action transition_apply(instance_row *inst, lifecycle_event event, termination_reason reason, int64_t now_us);
// Charging does not end before `proved_us`, up to which uptime is proved and may be charged already: the clock may have
// been set back since, or the caller have waited for the row. For rows whose charging has just ended; others are left
// alone.
void transition_keep_proved(instance_row *inst, int64_t proved_us);
// A new attempt of one replica: the next generation, nothing known of it yet. Its Ready interval must have been closed.
void transition_replace(replica_row *r, int64_t now_us, const char *detail);
void instance_set_detail(instance_row *inst, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void replica_set_detail(replica_row *r, const char *detail);
void replica_set_status(replica_row *r, replica_status status);
// ready_changed and steady_at follow. `at_us`: when it changed.
void replica_set_ready(replica_row *r, bool ready, int64_t at_us);

#endif

// What events missed and time brings: holds that nobody renews, logs that nobody needs any more. Timers under leases.
#ifndef SCHEDULER_JANITOR_H
#define SCHEDULER_JANITOR_H

#include "ecolink/service.h"

// Instances whose hold has expired run on under an alarm, and stop when this process has seen it expired for
// HOLD_GRACE_S without a break: billing is unreachable or does not do its work. Time is measured by CLOCK_BOOTTIME,
// from when it was first seen.
eco_status janitor_holds(eco_ctx *ctx);
// Drops logs and directories of replicas whose instance ended more than LOG_KEEP_S ago.
eco_status janitor_leavings(eco_ctx *ctx);
// Before the drivers are closed: waits for the one call that may be under way, and lets no other begin.
void janitor_stop(void);

#endif

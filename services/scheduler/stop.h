// Stopping and restarting: decisions that one transaction records; the regions' reconcilers carry them out.
#ifndef SCHEDULER_STOP_H
#define SCHEDULER_STOP_H

#include "ecolink/service.h"
#include "instance.h"

eco_status rpc_stop(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_admin_stop(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_restart(eco_ctx *ctx, const void *request, void *reply);
// Stops `inst` (loaded and locked in tx) for `reason`. Legal in every live state; nothing happens in any other.
ECO_CHECKED eco_status instance_stop(eco_ctx *ctx, eco_tx *tx, instance_row *inst, termination_reason reason);
// Loads an instance that its caller may see: NOT_FOUND when it does not exist (or never was), FORBIDDEN for another
// account's.
ECO_CHECKED eco_status instance_load_own(eco_ctx *ctx, eco_tx *tx, int64_t id, bool lock, instance_row *out);

#endif

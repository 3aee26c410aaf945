// The launch saga (RPC Launch), its quote, and what undoes a launch without an answer.
#ifndef SCHEDULER_LAUNCH_H
#define SCHEDULER_LAUNCH_H

#include "ecolink/service.h"
#include "instance.h"

eco_status rpc_launch(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_quote(eco_ctx *ctx, const void *request, void *reply);
// Undoes a launch for good: reservations released, route removed, never visible. The hold must be closed before.
// `outcome` is kept as the launch's answer where its caller still waits for one.
ECO_CHECKED eco_status launch_discard(eco_ctx *ctx, int64_t instance_id, eco_status outcome);
// Closes the hold, then discards. Fails, and may be called again, while billing cannot be reached.
ECO_CHECKED eco_status launch_undo(eco_ctx *ctx, int64_t instance_id);
// Timer, under the lease "launch-recovery": undoes launches without an answer.
eco_status launch_recover(eco_ctx *ctx);

#endif

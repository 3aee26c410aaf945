// Events consumed.
#include "consumers.h"

#include <string.h>

#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/health.pb-c.h"
#include "publish.h"
#include "regions.h"
#include "stop.h"
#include "store.h"

// Keeps the open hold's amount and end for answers; a refused one stops the instance.
eco_status on_hold(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  (void)entity_id;
  const Ecolink__V1__HoldState *hold = state;
  instance_row inst;
  eco_status st = store_instance_load(ctx->tx, ctx->arena, hold->instance_id, STORE_LOCK, &inst);
  if (st.code == ECO_NOT_FOUND) {
    return eco_success();  // a hold of a launch that was rolled back: billing closes it by itself
  }
  ECO_TRY(st);
  if (strcmp(inst.launch_state, "done") != 0 || hold->cycle < inst.hold_cycle) {
    return eco_success();  // the launch's own answer brings the first hold
  }
  bool open = hold->status == ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_OPEN ||
              hold->status == ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_PARTIAL;
  inst.hold_cycle = hold->cycle;
  inst.hold_amount_micros = open ? hold->amount_micros : 0;
  inst.hold_expires_at_us = open ? hold->expires_at_us : 0;
  inst.dirty = true;
  if (hold->status == ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_REFUSED && instance_is_routed(&inst)) {
    ECO_TRY(instance_stop(ctx, ctx->tx, &inst, TR_CREDIT_DEPLETED));
    regions_wake();
    return eco_success();
  }
  if (hold->status == ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_PARTIAL) {
    ECO_TRY(store_event_append(ctx->tx, &inst, ctx->now_us, "hold.partial", 0,
                               "The balance covers only part of the next cycle: recharge to continue."));
  }
  return instance_write(ctx, ctx->tx, &inst, "hold_changed");
}

// Health steers routing by itself; the owner reads of it in the instance's events, nothing else follows from it here.
eco_status on_replica_health(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  (void)entity_id;
  const Ecolink__V1__ReplicaHealth *health = state;
  if (health->state == ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_UNSPECIFIED) {
    return eco_success();  // it is no longer probed, or not judged yet: no news of its health
  }
  instance_row inst;
  eco_status st = store_instance_load(ctx->tx, ctx->arena, health->instance_id, STORE_LOCK, &inst);
  if (st.code == ECO_NOT_FOUND) {
    return eco_success();
  }
  ECO_TRY(st);
  if (strcmp(inst.launch_state, "done") != 0 || !instance_is_routed(&inst)) {
    return eco_success();
  }
  bool unhealthy = health->state == ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_UNHEALTHY;
  const char *text =
      unhealthy ? eco_sprintf(ctx->arena, "Replica %d in %s is unhealthy: %.150s.", health->replica_id, health->region,
                              health->reason)
                : eco_sprintf(ctx->arena, "Replica %d in %s is healthy again.", health->replica_id, health->region);
  ECO_TRY(store_event_append(ctx->tx, &inst, ctx->now_us, unhealthy ? "replica.unhealthy" : "replica.healthy",
                             health->replica_id, text));
  return instance_write(ctx, ctx->tx, &inst, "noted");
}

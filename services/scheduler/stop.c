// Stop, by owner, operator or for want of credit.
#include "stop.h"

#include <string.h>

#include "publish.h"
#include "regions.h"
#include "store.h"
#include "transition.h"

eco_status instance_load_own(eco_ctx *ctx, eco_tx *tx, int64_t id, bool lock, instance_row *out) {
  return store_instance_load_own(tx, ctx->arena, ctx->caller.account_id, id, lock ? STORE_LOCK : STORE_READ, out);
}

static const char *stop_words(termination_reason reason) {
  switch (reason) {
    case TR_CREDIT_DEPLETED:
      return "Instance terminated: credit balance depleted.";
    case TR_ADMIN:
      return "Stop requested by an operator.";
    default:
      return "Stop requested.";
  }
}

eco_status instance_stop(eco_ctx *ctx, eco_tx *tx, instance_row *inst, termination_reason reason) {
  if (transition_apply(inst, EV_STOP, reason, ctx->now_us) != ACT_STOP) {
    return eco_success();
  }
  int64_t proved_us = 0;
  ECO_TRY(store_watermark_of(tx, inst->id, &proved_us));
  transition_keep_proved(inst, proved_us);
  ECO_TRY(store_event_append(tx, inst, ctx->now_us, "instance.stopping", 0, stop_words(reason)));
  return instance_write(ctx, tx, inst, instance_verb(inst));
}

eco_status rpc_stop(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__StopInstanceRequest *r = request;
  instance_row inst;
  ECO_TRY(instance_load_own(ctx, ctx->tx, r->id, true, &inst));
  ECO_TRY(instance_stop(ctx, ctx->tx, &inst, TR_USER_REQUESTED));
  view_instance(ctx->arena, &inst, reply);
  regions_wake();
  return eco_success();
}

eco_status rpc_admin_stop(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__AdminStopInstanceRequest *r = request;
  instance_row inst;
  ECO_TRY(store_instance_load(ctx->tx, ctx->arena, r->id, STORE_LOCK, &inst));
  if (strcmp(inst.launch_state, "done") != 0) {
    return eco_error(ECO_NOT_FOUND, "There is no instance %lld.", (long long)r->id);
  }
  ECO_TRY(instance_stop(ctx, ctx->tx, &inst, TR_ADMIN));
  view_instance(ctx->arena, &inst, reply);
  regions_wake();
  return eco_success();
}

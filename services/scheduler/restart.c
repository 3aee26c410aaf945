// Restart: a new generation of every replica, one region at a time, under the same hold.
#include "publish.h"
#include "regions.h"
#include "stop.h"
#include "store.h"
#include "transition.h"

eco_status rpc_restart(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__RestartInstanceRequest *r = request;
  instance_row inst;
  ECO_TRY(instance_load_own(ctx, ctx->tx, r->id, true, &inst));
  if (transition_apply(&inst, EV_RESTART, TR_NONE, ctx->now_us) == ACT_REFUSE) {
    return eco_error(ECO_WRONG_STATE, "Instance %lld is %s: only a starting or running instance can be restarted.",
                     (long long)r->id, instance_status_word(inst.status));
  }
  ECO_TRY(store_event_append(ctx->tx, &inst, ctx->now_us, "instance.restarting", 0,
                             "Restart requested: replicas are replaced one region at a time."));
  ECO_TRY(instance_write(ctx, ctx->tx, &inst, instance_verb(&inst)));
  view_instance(ctx->arena, &inst, reply);
  regions_wake();
  return eco_success();
}

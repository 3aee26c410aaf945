// Undoing launches that have no definite answer: at once by the launch itself, later by the timer, after a restart by
// whoever holds the lease. CloseHold comes first: it also bars a PlaceHold that is still on its way.
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/v1/billing.pb-c.h"
#include "launch.h"
#include "publish.h"
#include "store.h"
#include "transition.h"

static eco_status discard(eco_ctx *ctx, eco_tx *tx, int64_t id, eco_status answer) {
  instance_row inst;
  ECO_TRY(store_instance_load(tx, ctx->arena, id, STORE_LOCK, &inst));
  if (strcmp(inst.launch_state, "open") != 0 && strcmp(inst.launch_state, "closing") != 0) {
    return eco_success();
  }
  ECO_TRY(store_rooms_lock(tx));
  for (int k = 0; k < inst.replica_count; k++) {
    replica_row *r = &inst.replicas[k];
    if (r->reserved) {
      ECO_TRY(store_room_reserve(tx, r->region, inst.gpu_type, -inst.gpu_count));
    }
    r->reserved = false;
    r->gone = true;
    r->dirty = true;
    replica_set_status(r, RS_STOPPED);
  }
  transition_apply(&inst, EV_DISCARDED, TR_NONE, ctx->now_us);
  const char *scope = inst.idem_scope;
  inst.idem_scope = "";
  // The terminal event lets the registry release the model. There is no owner's event: the instance never was.
  ECO_TRY(instance_write(ctx, tx, &inst, "discarded"));
  return eco_idem_finish(tx, scope, answer, NULL);
}

eco_status launch_discard(eco_ctx *ctx, int64_t id, eco_status answer) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  ctx->now_us = eco_now_us();
  eco_status st = discard(ctx, tx, id, answer);
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("scheduler.launch.discarded");
  return eco_success();
}

static eco_status claim(eco_ctx *ctx, int64_t id, bool *claimed, const char **account_id) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_launch_claim(tx, id, claimed);
  instance_row inst;
  if (eco_ok(st)) {
    st = store_instance_load(tx, ctx->arena, id, STORE_READ, &inst);
  }
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  *account_id = inst.account_id;
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("scheduler.launch.claimed");
  return eco_success();
}

eco_status launch_undo(eco_ctx *ctx, int64_t id) {
  bool claimed = false;
  const char *account_id = "";
  ECO_TRY(claim(ctx, id, &claimed, &account_id));
  if (!claimed) {
    return eco_success();
  }
  Ecolink__V1__CloseHoldRequest ask = ECOLINK__V1__CLOSE_HOLD_REQUEST__INIT;
  ask.account_id = eco_strdup(ctx->arena, account_id);
  ask.instance_id = id;
  ask.cycle = 1;
  Ecolink__V1__CloseHoldResponse *answer = NULL;
  ECO_TRY(eco_rpc_call(ctx, "billing.CloseHold", &ask.base, &ecolink__v1__close_hold_response__descriptor,
                       SCHED_CLOSE_HOLD_TIMEOUT_MS, &answer));
  ECO_CRASH_POINT("scheduler.launch.hold_closed");
  return launch_discard(ctx, id,
                        eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "The launch did not complete: launch again."));
}

eco_status launch_recover(eco_ctx *ctx) {
  eco_tx *tx = NULL;
  int64_t *ids = NULL;
  size_t n = 0;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_launch_overdue(tx, ctx->arena, &ids, &n);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  for (size_t k = 0; k < n && !eco_service_stopping(ctx->service); k++) {
    eco_status undone = eco_context(launch_undo(ctx, ids[k]), "undoing the launch of instance %lld", (long long)ids[k]);
    if (eco_ok(undone)) {
      eco_log(ECO_LOG_INFO, "launch without an answer undone", ECO_F_I64("instance", ids[k]));
    } else if (eco_code_is_transient(undone.code)) {
      return undone;  // billing or the database is away: the others would fare no better
    } else {
      st = undone;  // this one's own trouble must not keep the others waiting
    }
  }
  return st;
}

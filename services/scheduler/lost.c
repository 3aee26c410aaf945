// Giving up what a lost region holds.
#include "lost.h"

#include <string.h>

#include "app.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "move.h"
#include "publish.h"
#include "regions.h"
#include "store.h"
#include "transition.h"

typedef struct lost_set {
  region_row *rows;
  size_t count;
} lost_set;

static const region_row *lost_region(const lost_set *set, const char *name) {
  for (size_t i = 0; i < set->count; i++) {
    if (set->rows[i].lost && strcmp(set->rows[i].name, name) == 0) {
      return &set->rows[i];
    }
  }
  return NULL;
}

// What was proved up to the region's last watermark is charged; what came after it is not known to anybody.
static eco_status end_uptime(eco_ctx *ctx, eco_tx *tx, instance_row *inst, replica_row *r, int64_t proved_us) {
  if (r->interval_started_us) {
    int64_t end_us = inst->charge_end_us && inst->charge_end_us < proved_us ? inst->charge_end_us : proved_us;
    end_us = end_us > r->interval_started_us ? end_us : r->interval_started_us;
    ECO_TRY(store_interval_close(tx, inst->id, r->id, end_us));
    r->interval_started_us = 0;
  }
  if (*r->run_id) {
    ECO_TRY(store_run_ended(tx, inst->id, r->id, r->run_id, ctx->now_us));
    r->run_id[0] = r->host[0] = '\0';
    r->port = 0;
    r->dirty = true;
  }
  if (r->ready) {
    replica_set_ready(r, false, ctx->now_us);
    ECO_TRY(store_event_append(tx, inst, ctx->now_us, "replica.lost", r->id,
                               eco_sprintf(ctx->arena, "Replica %d was lost with its region %s.", r->id, r->region)));
  }
  return eco_success();
}

static eco_status give_up(eco_ctx *ctx, eco_tx *tx, instance_row *inst, replica_row *r) {
  r->gone = r->dirty = true;
  replica_set_status(r, RS_STOPPED);
  replica_set_detail(r, "lost with its region");
  if (r->reserved) {
    r->reserved = false;
    ECO_TRY(store_room_reserve(tx, r->region, inst->gpu_type, -inst->gpu_count));
  }
  return store_event_append(tx, inst, ctx->now_us, "replica.stopped", r->id,
                            eco_sprintf(ctx->arena, "Replica %d in %s is given up.", r->id, r->region));
}

static eco_status start_elsewhere(eco_ctx *ctx, eco_tx *tx, instance_row *inst, replica_row *r) {
  const char *from = eco_strdup(ctx->arena, r->region);
  const char *why = eco_sprintf(ctx->arena, "Region %s was lost", from);
  ECO_TRY(move_replica(ctx, tx, inst, r, why));
  if (strcmp(from, r->region) != 0) {
    transition_replace(r, ctx->now_us, "its region was lost: starting in another one");
  } else {
    replica_set_status(r, RS_PENDING);
    replica_set_detail(r, "its region was lost: waiting for room in another one");
  }
  return eco_success();
}

// The instance's row is locked.
static eco_status judge(eco_ctx *ctx, eco_tx *tx, const lost_set *set, instance_row *inst) {
  bool wanted = inst->status == ST_PROVISIONING || inst->status == ST_RUNNING;
  bool elsewhere = false;
  bool all_gone = true;
  for (int i = 0; i < inst->replica_count; i++) {
    replica_row *r = &inst->replicas[i];
    const region_row *lost = r->gone ? NULL : lost_region(set, r->region);
    if (lost) {
      ECO_TRY(end_uptime(ctx, tx, inst, r, lost->observed_until_us));
      ECO_TRY(wanted ? start_elsewhere(ctx, tx, inst, r) : give_up(ctx, tx, inst, r));
    }
    elsewhere = elsewhere || (!r->gone && !lost_region(set, r->region));
    all_gone = all_gone && r->gone;
  }
  if (wanted && !elsewhere) {
    int64_t proved_us = 0;
    (void)transition_apply(inst, EV_CAPACITY_LOST, TR_CAPACITY_LOST, ctx->now_us);
    ECO_TRY(store_watermark_of(tx, inst->id, &proved_us));
    transition_keep_proved(inst, proved_us);
    return store_event_append(tx, inst, ctx->now_us, "instance.failed", 0, "Failed: the region that held it was lost.");
  }
  if (wanted) {
    (void)transition_apply(inst, instance_ready_count(inst) ? EV_SOME_READY : EV_NONE_READY, TR_NONE, ctx->now_us);
  } else if (all_gone) {
    (void)transition_apply(inst, EV_ALL_GONE, TR_NONE, ctx->now_us);
  }
  return eco_success();
}

static bool is_dirty(const instance_row *inst) {
  bool dirty = inst->dirty;
  for (int i = 0; i < inst->replica_count; i++) {
    dirty = dirty || inst->replicas[i].dirty;
  }
  return dirty;
}

static eco_status settle_one(eco_ctx *ctx, const lost_set *set, int64_t id) {
  instance_row inst;
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  ctx->now_us = eco_now_us();
  eco_status st = store_instance_load(tx, ctx->arena, id, STORE_LOCK, &inst);
  instance_status before = inst.status;
  if (eco_ok(st)) {
    st = judge(ctx, tx, set, &inst);
  }
  bool dirty = eco_ok(st) && is_dirty(&inst);
  if (dirty) {
    st = instance_write(ctx, tx, &inst, inst.status != before ? instance_verb(&inst) : "changed");
  }
  if (!dirty || !eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("scheduler.lost.given_up");
  return eco_success();
}

// Nothing there is in doubt any more: settlements need not wait for the region.
static eco_status advance(eco_ctx *ctx, const char *region) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_region_watermark(tx, region, eco_now_us());
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  return eco_tx_commit(tx);
}

static eco_status give_up_region(eco_ctx *ctx, const lost_set *set, const char *region) {
  instance_row *list = NULL;
  size_t n = 0;
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_instance_in_region(tx, ctx->arena, region, &list, &n);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  for (size_t i = 0; i < n && !eco_service_stopping(ctx->service); i++) {
    ECO_TRY(eco_context(settle_one(ctx, set, list[i].id), "instance %lld", (long long)list[i].id));
  }
  if (n > 0) {
    regions_wake();
  }
  return advance(ctx, region);
}

eco_status lost_regions(eco_ctx *ctx) {
  lost_set set = {0};
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_region_list(tx, ctx->arena, "", SCHED_REGIONS_MAX, &set.rows, &set.count);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  for (size_t i = 0; i < set.count; i++) {
    if (set.rows[i].lost) {
      ECO_TRY(give_up_region(ctx, &set, set.rows[i].name));
    }
  }
  return eco_success();
}

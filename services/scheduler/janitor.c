// Periodic repairs.
#include "janitor.h"

#include <pthread.h>
#include <string.h>

#include "app.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "regions.h"
#include "stop.h"
#include "store.h"

enum { OVERDUE_MAX = 1024, BATCH = 50, STALE_RUNS_MS = 120000 };

// ---- holds ----
typedef struct overdue {
  int64_t instance_id;
  int64_t since_ms;
  int64_t seen_ms;  // last run that found it overdue
} overdue;

// The timer's thread alone.
static struct {
  overdue list[OVERDUE_MAX];
  size_t count;
} watch;

static overdue *watched(int64_t id, int64_t now_ms) {
  for (size_t i = 0; i < watch.count; i++) {
    if (watch.list[i].instance_id == id) {
      return &watch.list[i];
    }
  }
  if (watch.count == OVERDUE_MAX) {
    return NULL;  // its turn comes when others are done
  }
  eco_log(ECO_LOG_ERROR, "a hold has expired and was not renewed: the instance runs on", ECO_F_I64("instance", id),
          ECO_F_I64("grace_s", app.hold_grace_s));
  watch.list[watch.count] = (overdue){.instance_id = id, .since_ms = now_ms, .seen_ms = now_ms};
  return &watch.list[watch.count++];
}

static void forget_renewed(int64_t now_ms) {
  size_t kept = 0;
  for (size_t i = 0; i < watch.count; i++) {
    if (watch.list[i].seen_ms == now_ms) {
      watch.list[kept++] = watch.list[i];
    }
  }
  watch.count = kept;
}

static eco_status stop_one(eco_ctx *ctx, int64_t id) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  ctx->now_us = eco_now_us();
  instance_row inst;
  eco_status st = store_instance_load(tx, ctx->arena, id, STORE_LOCK, &inst);
  if (eco_ok(st) && inst.hold_expires_at_us < ctx->now_us) {
    st = instance_stop(ctx, tx, &inst, TR_CREDIT_DEPLETED);
  }
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("scheduler.janitor.stopped");
  regions_wake();
  return eco_success();
}

eco_status janitor_holds(eco_ctx *ctx) {
  int64_t now_ms = eco_boottime_ms();
  int64_t *ids = NULL;
  size_t n = 0;
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_holds_overdue(tx, ctx->arena, eco_now_us(), OVERDUE_MAX, &ids, &n);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  for (size_t i = 0; i < n; i++) {
    overdue *o = watched(ids[i], now_ms);
    if (!o) {
      continue;
    }
    if (now_ms - o->seen_ms > STALE_RUNS_MS) {
      o->since_ms = now_ms;  // another process held the lease meanwhile
    }
    o->seen_ms = now_ms;
    if (now_ms - o->since_ms > app.hold_grace_s * 1000) {
      ECO_TRY(stop_one(ctx, ids[i]));
    }
  }
  forget_renewed(now_ms);
  return eco_success();
}

// ---- leavings ----
// The drivers are closed while timers still run.
static struct {
  pthread_mutex_t lock;
  bool stopped;  // guarded by lock
} drivers = {.lock = PTHREAD_MUTEX_INITIALIZER};

void janitor_stop(void) {
  pthread_mutex_lock(&drivers.lock);
  drivers.stopped = true;
  pthread_mutex_unlock(&drivers.lock);
}

static eco_status forget_replica(const instance_row *inst, const replica_row *r) {
  // Every driver may hold leavings: a replica can have moved between regions.
  pthread_mutex_lock(&drivers.lock);
  static const char *const names[] = {"process", "kubernetes"};
  eco_status st =
      drivers.stopped ? eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "the scheduler is stopping") : eco_success();
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && eco_ok(st); i++) {
    driver *d = app_driver(names[i]);
    st = d ? d->ops->forget(d, r->region, inst->id, r->id) : st;
  }
  pthread_mutex_unlock(&drivers.lock);
  return st;
}

static eco_status drop_one(eco_ctx *ctx, const instance_row *inst) {
  for (int i = 0; i < inst->replica_count; i++) {
    ECO_TRY(forget_replica(inst, &inst->replicas[i]));
    ECO_CRASH_POINT("scheduler.janitor.leavings_dropped");
  }
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_logs_drop(tx, inst->id);
  if (eco_ok(st)) {
    st = store_leavings_dropped(tx, inst->id);
  }
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  return eco_tx_commit(tx);
}

eco_status janitor_leavings(eco_ctx *ctx) {
  instance_row *list = NULL;
  size_t n = 0;
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  int64_t before_us = eco_now_us() - app.log_keep_s * ECO_US_PER_S;
  eco_status st = store_leavings(tx, ctx->arena, before_us, BATCH, &list, &n);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  for (size_t i = 0; i < n && !eco_service_stopping(ctx->service); i++) {
    st = drop_one(ctx, &list[i]);
    if (!eco_ok(st)) {
      eco_log(ECO_LOG_WARN, "leavings of an instance could not be dropped", ECO_F_I64("instance", list[i].id),
              ECO_F_STATUS(st));
    }
  }
  return eco_success();
}

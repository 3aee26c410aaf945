// One pass of one region's reconciler.
#include "reconcile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "reconcile_internal.h"
#include "store.h"

enum { GAP_INTERVALS = 3 };  // a pass later than so many meter intervals finds everything unproved

// ---- what exists ----
static void on_seen(void *arg, const replica_observation *seen) {
  sighting *s = arg;
  if (s->count == SCHED_OBSERVED_MAX) {
    s->overflow = true;
    return;
  }
  if (s->count == s->cap) {
    size_t cap = s->cap ? s->cap * 2 : 64;
    replica_observation *grown = eco_alloc_array(s->arena, cap, sizeof(*grown));
    if (s->count) {
      memcpy(grown, s->list, s->count * sizeof(*grown));
    }
    s->list = grown;
    s->cap = cap;
  }
  s->list[s->count++] = *seen;
}

static int compare_seen(const void *a, const void *b) {
  const replica_observation *x = a;
  const replica_observation *y = b;
  return roster_compare(x->instance_id, x->replica_id, y->instance_id, y->replica_id);
}

const replica_observation *pass_seen(const pass *p, int64_t instance_id, int replica_id) {
  const sighting *s = &p->seen;
  replica_observation key = {.instance_id = instance_id, .replica_id = replica_id};
  return s->count ? bsearch(&key, s->list, s->count, sizeof(key), compare_seen) : NULL;
}

void reconcile_forget(region_memory *region) {
  roster_free(&region->roster);
  region->last_pass_ms = 0;
  region->next_look_ms = 0;
}

// ---- what is there, and what should be ----
static eco_status observe(pass *p) {
  ECO_TRY(p->driver->ops->observe(p->driver, p->region->name, on_seen, &p->seen));
  if (p->seen.overflow) {
    return eco_error(ECO_INTERNAL, "region %s holds more than %d objects", p->region->name, SCHED_OBSERVED_MAX);
  }
  bool sorted = true;  // as a driver usually tells it
  for (size_t i = 1; sorted && i < p->seen.count; i++) {
    sorted = compare_seen(&p->seen.list[i - 1], &p->seen.list[i]) <= 0;
  }
  if (!sorted) {
    qsort(p->seen.list, p->seen.count, sizeof(*p->seen.list), compare_seen);
  }
  return eco_success();
}

static eco_status read_desired(pass *p, eco_tx *tx) {
  region_row row;
  ECO_TRY(store_region_get(tx, p->ctx->arena, p->region->name, &row));
  p->watermark_us = row.observed_until_us;
  p->prune_confirmed = row.prune_confirmed;
  p->lost = row.lost;
  snprintf(p->trouble, sizeof(p->trouble), "%s", row.trouble);
  ECO_TRY(store_instance_highest(tx, &p->highest_id));
  return store_region_keys(tx, p->ctx->arena, p->region->name, &p->keys, &p->key_count);
}

static eco_status load(pass *p) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(p->ctx->db, &tx));
  eco_status st = read_desired(p, tx);
  eco_tx_rollback(tx);
  return st;
}

eco_status pass_check_lease(const pass *p, eco_tx *tx) {
  char lease[SCHED_REGION_MAX + 16];
  snprintf(lease, sizeof(lease), "region:%s", p->region->name);
  return eco_lease_check(tx, lease, p->epoch);
}

// ---- leaving passes out ----
static eco_status read_stamp(pass *p, store_stamp *out) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(p->ctx->db, &tx));
  eco_status st = store_region_stamp(tx, p->region->name, out);
  eco_tx_rollback(tx);
  return st;
}

static bool same_stamp(const store_stamp *a, const store_stamp *b) {
  return a->count == b->count && a->versions == b->versions && a->prune_confirmed == b->prune_confirmed;
}

// True: what the last look made of it still stands. The driver is asked before anything is read: what changes meanwhile
// is then found by the next pass.
static eco_status look_for_changes(pass *p, int64_t started_ms, bool *none) {
  region_memory *m = p->region;
  uint64_t version = 0;
  *none = false;
  if (!p->driver->ops->version) {
    return eco_success();
  }
  ECO_TRY(p->driver->ops->version(p->driver, m->name, &version));
  if (started_ms < m->next_look_ms && version == m->driver_version) {
    store_stamp stamp;
    ECO_TRY(read_stamp(p, &stamp));
    *none = same_stamp(&stamp, &m->stamp);
  }
  m->driver_version = version;
  return eco_success();
}

// What the rows' stamp is while they are as they were judged, our own writes included.
static store_stamp judged_stamp(const pass *p) {
  const roster *r = &p->region->roster;
  store_stamp out = {.count = (int64_t)r->count, .prune_confirmed = p->prune_confirmed};
  for (size_t i = 0; i < r->count; i++) {
    out.versions += r->list[i].version;
  }
  return out;
}

typedef struct room_change {
  pass *p;
  eco_tx *tx;
  eco_status st;
} room_change;

static void on_room(void *arg, const char *gpu_type, int total) {
  room_change *c = arg;
  if (eco_ok(c->st)) {
    c->st = store_room_total(c->tx, c->p->region->name, gpu_type, total);
  }
}

// What the driver sees of the region's GPUs becomes the total that reservations are counted against.
static eco_status follow_rooms(pass *p, eco_tx *tx) {
  room_row *rooms = NULL;
  size_t n = 0;
  if (!p->driver->ops->rooms) {
    return eco_success();
  }
  ECO_TRY(store_region_rooms(tx, p->ctx->arena, p->region->name, &rooms, &n));
  const char **types = eco_alloc_array(p->ctx->arena, n + 1, sizeof(*types));
  for (size_t i = 0; i < n; i++) {
    types[i] = rooms[i].gpu_type;
  }
  room_change change = {.p = p, .tx = tx, .st = eco_success()};
  ECO_TRY(p->driver->ops->rooms(p->driver, p->region->name, types, n, on_room, &change));
  return change.st;
}

static eco_status advance_watermark(pass *p, int64_t started_ms) {
  if (p->region->last_watermark_ms && started_ms - p->region->last_watermark_ms < app.meter_interval_ms) {
    return eco_success();
  }
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(p->ctx->db, &tx));
  eco_status st = pass_check_lease(p, tx);
  if (eco_ok(st)) {
    st = store_region_seen(tx, p->region->name);
  }
  if (eco_ok(st)) {
    st = follow_rooms(p, tx);
  }
  if (eco_ok(st) && !p->undecided) {
    st = store_region_watermark(tx, p->region->name, p->seen_us);
  }
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("scheduler.meter.watermark_committed");
  p->region->last_watermark_ms = started_ms;
  return eco_success();
}

// From the first failure on the row says since when; a minute later nothing new is placed there (store_region.c).
static eco_status note_failure(pass *p, int64_t now_ms, eco_status why) {
  if (!p->region->failing_since_ms) {
    p->region->failing_since_ms = now_ms;
    eco_log(ECO_LOG_WARN, "region cannot be observed: nothing is concluded from that",
            ECO_F_STR("region", p->region->name), ECO_F_STATUS(why));
  }
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(p->ctx->db, &tx));
  eco_status st = pass_check_lease(p, tx);
  if (eco_ok(st)) {
    st = store_region_failing(tx, p->region->name);
  }
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  return eco_tx_commit(tx);
}

eco_status reconcile_pass(eco_ctx *ctx, region_memory *region, int64_t epoch) {
  pass p = {.ctx = ctx, .region = region, .epoch = epoch, .seen = {.arena = ctx->arena}};
  int64_t started_ms = eco_boottime_ms();
  if (region->epoch != epoch || started_ms - region->last_pass_ms > GAP_INTERVALS * app.meter_interval_ms) {
    reconcile_forget(region);
    region->epoch = epoch;
  }
  p.driver = region->driver;
  p.seen_us = eco_now_us();
  bool unchanged = false;
  eco_status st = look_for_changes(&p, started_ms, &unchanged);
  if (eco_ok(st) && unchanged) {
    region->last_pass_ms = started_ms;
    return advance_watermark(&p, started_ms);
  }
  region->next_look_ms = 0;
  if (eco_ok(st)) {
    st = observe(&p);
  }
  if (!eco_ok(st)) {
    return note_failure(&p, started_ms, st);
  }
  region->failing_since_ms = 0;
  // Rows after objects: an object without a row is then really one too many.
  ECO_TRY(load(&p));
  if (p.lost) {
    return eco_success();
  }
  if (!roster_follow(&region->roster, p.keys, p.key_count)) {
    return eco_error(ECO_INTERNAL, "out of memory");
  }
  eco_status failure = eco_success();
  ECO_TRY(pass_judge(&p, &failure));
  pass_prune(&p);
  region->stamp = judged_stamp(&p);
  region->last_pass_ms = started_ms;
  // One instance that cannot be judged holds back the watermark, not the region.
  p.undecided = p.undecided || !eco_ok(failure);
  if (!p.undecided && !p.leaves_out) {
    int64_t next_ms = roster_next_ms(&region->roster);
    int64_t latest_ms = started_ms + PACE_QUIET_MS;
    region->next_look_ms = next_ms < latest_ms ? next_ms : latest_ms;
  }
  ECO_TRY(advance_watermark(&p, started_ms));
  return failure;
}

// One pass of one region's reconciler.
#include "reconcile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "move.h"
#include "publish.h"
#include "readiness.h"
#include "spec.h"
#include "store.h"

enum { GAP_INTERVALS = 3 };  // a pass later than so many meter intervals finds everything unproved

// ---- what exists ----
typedef struct sighting {
  eco_arena *arena;
  replica_observation *list;  // sorted by (instance, replica) when complete
  size_t count;
  size_t cap;
  bool overflow;
} sighting;

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

static int compare_key(int64_t a_instance, int a_replica, int64_t b_instance, int b_replica) {
  if (a_instance != b_instance) {
    return a_instance < b_instance ? -1 : 1;
  }
  return a_replica - b_replica;
}

static int compare_seen(const void *a, const void *b) {
  const replica_observation *x = a;
  const replica_observation *y = b;
  return compare_key(x->instance_id, x->replica_id, y->instance_id, y->replica_id);
}

static int compare_known(const void *a, const void *b) {
  const remembered *x = a;
  const remembered *y = b;
  return compare_key(x->instance_id, x->replica_id, y->instance_id, y->replica_id);
}

static const replica_observation *find_seen(const sighting *s, int64_t instance, int replica) {
  replica_observation key = {.instance_id = instance, .replica_id = replica};
  return s->count ? bsearch(&key, s->list, s->count, sizeof(key), compare_seen) : NULL;
}

void reconcile_forget(region_memory *region) {
  free(region->known);
  region->known = NULL;
  region->known_count = 0;
  region->last_pass_ms = 0;
  region->next_whole_ms = 0;
}

// ---- one pass ----
typedef struct pass {
  eco_ctx *ctx;
  region_memory *region;
  driver *driver;
  int64_t epoch;
  int64_t seen_us;
  int64_t watermark_us;
  int64_t highest_id;
  bool prune_confirmed;
  bool lost;                             // nothing is written there any more
  char trouble[ECO_STATUS_MESSAGE_MAX];  // what the region's row says
  sighting seen;
  instance_row *instances;
  size_t count;
  replica_facts (*facts)[SCHED_REPLICAS_MAX];  // by instance, by replica
  bool undecided;
  pace pace;
} pass;

static eco_status observe(pass *p) {
  ECO_TRY(p->driver->ops->observe(p->driver, p->region->name, on_seen, &p->seen));
  if (p->seen.overflow) {
    return eco_error(ECO_INTERNAL, "region %s holds more than %d objects", p->region->name, SCHED_OBSERVED_MAX);
  }
  if (p->seen.count) {
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
  return store_instance_in_region(tx, p->ctx->arena, p->region->name, &p->instances, &p->count);
}

static eco_status load(pass *p) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(p->ctx->db, &tx));
  eco_status st = read_desired(p, tx);
  eco_tx_rollback(tx);
  return st;
}

static void gather_facts(pass *p) {
  p->facts = eco_alloc_array(p->ctx->arena, p->count + 1, sizeof(*p->facts));
  for (size_t k = 0; k < p->count; k++) {
    const instance_row *inst = &p->instances[k];
    for (int i = 0; i < inst->replica_count; i++) {
      const replica_row *r = &inst->replicas[i];
      replica_facts *f = &p->facts[k][i];
      f->here = !r->gone && strcmp(r->region, p->region->name) == 0;
      if (!f->here) {
        continue;
      }
      const replica_observation *seen = find_seen(&p->seen, inst->id, r->id);
      if (seen) {
        f->seen = *seen;
      }
      remembered key = {.instance_id = inst->id, .replica_id = r->id};
      const remembered *known =
          p->region->known_count ? bsearch(&key, p->region->known, p->region->known_count, sizeof(key), compare_known)
                                 : NULL;
      if (known) {
        f->memory = known->memory;
      }
    }
  }
}

static void probe_all(pass *p) {
  ready_target *targets = eco_alloc_array(p->ctx->arena, p->count * SCHED_REPLICAS_MAX + 1, sizeof(*targets));
  int64_t now_ms = eco_boottime_ms();
  replica_facts **whose = eco_alloc_array(p->ctx->arena, p->count * SCHED_REPLICAS_MAX + 1, sizeof(*whose));
  size_t n = 0;
  for (size_t k = 0; k < p->count; k++) {
    const instance_row *inst = &p->instances[k];
    for (int i = 0; i < inst->replica_count; i++) {
      const replica_row *r = &inst->replicas[i];
      replica_facts *f = &p->facts[k][i];
      if (!f->here || !reconcile_wants_probe(inst, r, &f->seen, &f->memory)) {
        continue;
      }
      if (pace_trusts(inst, r, &f->seen, &f->memory, now_ms)) {
        f->probe = PROBE_OK;
      } else {
        // A run that has shown its name keeps it: afterwards health alone is asked.
        bool named = r->ready && strcmp(r->run_id, f->seen.run_id) == 0;
        targets[n] = (ready_target){.host = f->seen.host,
                                    .port = f->seen.port,
                                    .health_path = inst->health_path,
                                    .token = r->token,
                                    .served_name = inst->lists_models && !named ? inst->served_name : NULL};
        whose[n++] = f;
      }
    }
  }
  readiness_probe(targets, n);
  ECO_CRASH_POINT("scheduler.readiness.asked");
  for (size_t i = 0; i < n; i++) {
    whose[i]->probe = targets[i].ready ? PROBE_OK : targets[i].unknown ? PROBE_NONE : PROBE_FAILED;
    snprintf(whose[i]->probe_detail, sizeof(whose[i]->probe_detail), "%s", targets[i].detail);
    whose[i]->memory.answered_ms = targets[i].ready ? now_ms : 0;
  }
}

// Under what circumstances its answer was good: pace_trusts asks whether they still hold.
static void note_answers(pass *p, size_t k) {
  for (int i = 0; i < p->instances[k].replica_count; i++) {
    replica_facts *f = &p->facts[k][i];
    f->memory.answered_version = p->instances[k].version;
    f->memory.answered_ready_us = f->seen.ready_since_us;
  }
}

static eco_status write_effect(pass *p, eco_tx *tx, instance_row *inst, const effect *e) {
  const replica_row *r = NULL;
  for (int i = 0; i < inst->replica_count; i++) {
    r = inst->replicas[i].id == e->replica_id ? &inst->replicas[i] : r;
  }
  switch (e->kind) {
    case EFFECT_INTERVAL_OPEN:
      return store_interval_open(tx, inst->id, r, e->run_id, e->at_us);
    case EFFECT_INTERVAL_CLOSE:
      return store_interval_close(tx, inst->id, e->replica_id, e->at_us);
    case EFFECT_RUN_SEEN:
      return store_run_seen(tx, inst->id, r, e->run_id, e->at_us);
    case EFFECT_RUN_ENDED:
      return store_run_ended(tx, inst->id, e->replica_id, e->run_id, e->at_us);
    case EFFECT_RELEASE:
      return store_room_reserve(tx, r->region, inst->gpu_type, -inst->gpu_count);
    case EFFECT_EVENT:
      return store_event_append(tx, inst, p->ctx->now_us, e->type, e->replica_id, e->message);
  }
  return eco_success();
}

static eco_status check_lease(const pass *p, eco_tx *tx) {
  char lease[SCHED_REGION_MAX + 16];
  snprintf(lease, sizeof(lease), "region:%s", p->region->name);
  return eco_lease_check(tx, lease, p->epoch);
}

// Judges again on the locked row and writes what changed.
static eco_status decide_locked(pass *p, eco_tx *tx, size_t k, replica_facts *facts, reconcile_plan *plan) {
  ECO_TRY(check_lease(p, tx));
  instance_row *inst = &p->instances[k];
  ECO_TRY(store_instance_load(tx, p->ctx->arena, inst->id, STORE_LOCK, inst));
  p->ctx->now_us = eco_now_us();
  reconcile_judge(inst, facts, p->seen_us, p->watermark_us, p->ctx->now_us, plan);
  if (!reconcile_changed(inst, plan)) {
    return eco_success();
  }
  for (int i = 0; i < plan->effect_count; i++) {
    ECO_TRY(write_effect(p, tx, inst, &plan->effects[i]));
  }
  for (int i = 0; i < inst->replica_count; i++) {
    if (plan->move[i]) {
      const char *why = eco_sprintf(p->ctx->arena, "Replica %d did not become ready in %s after %d attempts",
                                    inst->replicas[i].id, inst->replicas[i].region, inst->replicas[i].attempts);
      ECO_TRY(move_replica(p->ctx, tx, inst, &inst->replicas[i], why));
      bool moved = strcmp(inst->replicas[i].region, p->region->name) != 0;
      facts[i].here = !moved;
      plan->actions[i] = moved ? DO_NOTHING : plan->actions[i];
    }
  }
  return instance_write(p->ctx, tx, inst, inst->status != plan->before ? instance_verb(inst) : "changed");
}

// A judgement on what was read without locks tells whether a transaction is due at all.
static eco_status decide(pass *p, size_t k, reconcile_plan *plan) {
  replica_facts facts[SCHED_REPLICAS_MAX];
  instance_row guess = p->instances[k];
  memcpy(facts, p->facts[k], sizeof(facts));
  reconcile_judge(&guess, facts, p->seen_us, p->watermark_us, eco_now_us(), plan);
  if (!reconcile_changed(&guess, plan)) {
    memcpy(p->facts[k], facts, sizeof(facts));
    return eco_success();
  }
  memcpy(facts, p->facts[k], sizeof(facts));
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(p->ctx->db, &tx));
  eco_status st = decide_locked(p, tx, k, facts, plan);
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("scheduler.reconcile.committed");
  memcpy(p->facts[k], facts, sizeof(facts));
  return eco_success();
}

static eco_status apply(pass *p, const instance_row *inst, const replica_row *r) {
  // An arena of its own: opened secrets must not outlive the call.
  eco_arena *arena = eco_arena_new();
  replica_spec spec;
  eco_tx *tx = NULL;
  eco_status st = eco_tx_begin(p->ctx->db, &tx);
  if (eco_ok(st)) {
    st = spec_load(tx, arena, inst, r, &spec);
    eco_tx_rollback(tx);
  }
  if (eco_ok(st)) {
    st = p->driver->ops->apply(p->driver, &spec);
    ECO_CRASH_POINT("scheduler.reconcile.applied");
  }
  eco_arena_free(arena);
  return st;
}

static void act(pass *p, size_t k, const reconcile_plan *plan) {
  const instance_row *inst = &p->instances[k];
  for (int i = 0; i < inst->replica_count; i++) {
    const replica_row *r = &inst->replicas[i];
    replica_facts *f = &p->facts[k][i];
    if (!f->here || plan->actions[i] == DO_NOTHING) {
      continue;
    }
    eco_status st;
    if (plan->actions[i] == DO_APPLY) {
      st = apply(p, inst, r);
    } else {
      st = p->driver->ops->remove(p->driver, p->region->name, inst->id, r->id, inst->drain_s);
      ECO_CRASH_POINT("scheduler.reconcile.removed");
    }
    char trouble[SCHED_DETAIL_MAX] = "";
    if (!eco_ok(st)) {
      snprintf(trouble, sizeof(trouble), "cannot be %s: %.120s", plan->actions[i] == DO_APPLY ? "started" : "ended",
               st.message);
    }
    if (*trouble && strcmp(trouble, f->memory.trouble) != 0) {
      eco_log(ECO_LOG_WARN, "driver refused", ECO_F_STR("region", p->region->name), ECO_F_I64("instance", inst->id),
              ECO_F_I64("replica", r->id), ECO_F_STATUS(st));
    }
    memcpy(f->memory.trouble, trouble, sizeof(trouble));
    f->memory.applied = f->memory.applied || (plan->actions[i] == DO_APPLY && !*trouble);
  }
}

static int compare_instance(const void *a, const void *b) {
  const instance_row *x = a;
  const instance_row *y = b;
  return compare_key(x->id, 0, y->id, 0);
}

static bool has_row(const pass *p, const replica_observation *seen) {
  instance_row key = {.id = seen->instance_id};
  const instance_row *inst = p->count ? bsearch(&key, p->instances, p->count, sizeof(key), compare_instance) : NULL;
  for (int i = 0; inst && i < inst->replica_count; i++) {
    if (inst->replicas[i].id == seen->replica_id) {
      return p->facts[inst - p->instances][i].here;
    }
  }
  return false;
}

// Writes what an operator should know, when it changed. It takes a confirmation away once there is nothing to confirm.
static void note_region(pass *p, const char *trouble) {
  if (strcmp(trouble, p->trouble) == 0) {
    return;
  }
  eco_tx *tx = NULL;
  eco_status st = eco_tx_begin(p->ctx->db, &tx);
  if (eco_ok(st)) {
    st = store_region_trouble(tx, p->region->name, trouble);
    if (eco_ok(st)) {
      st = eco_tx_commit(tx);
    } else {
      eco_tx_rollback(tx);
    }
  }
  if (!eco_ok(st)) {
    eco_log(ECO_LOG_WARN, "a region's trouble could not be written down", ECO_F_STR("region", p->region->name),
            ECO_F_STATUS(st));
  }
}

// What exists without a row: left over by a crash, or moved away.
static void prune(pass *p) {
  int orphans = 0;
  int64_t highest_seen = 0;
  bool *orphan = eco_alloc_array(p->ctx->arena, p->seen.count + 1, sizeof(*orphan));
  for (size_t s = 0; s < p->seen.count; s++) {
    const replica_observation *seen = &p->seen.list[s];
    orphan[s] = !has_row(p, seen);
    if (seen->phase == REPLICA_STOPPING) {
      continue;  // on its way out already: nothing more is decided about it
    }
    highest_seen = seen->instance_id > highest_seen ? seen->instance_id : highest_seen;
    orphans += orphan[s] ? 1 : 0;
  }
  bool allowed = prune_allowed(orphans, (int)p->seen.count, highest_seen, p->highest_id) || p->prune_confirmed;
  char trouble[ECO_STATUS_MESSAGE_MAX] = "";
  if (!allowed) {
    snprintf(trouble, sizeof(trouble),
             "%d of %zu objects have no row (highest id seen %lld, known %lld): nothing is removed before an operator "
             "confirms it",
             orphans, p->seen.count, (long long)highest_seen, (long long)p->highest_id);
  }
  note_region(p, trouble);
  if (!allowed && !p->region->prune_refused) {
    eco_log(ECO_LOG_ERROR,
            "region holds too many objects without a row, or newer ones than the database knows: nothing is removed",
            ECO_F_STR("region", p->region->name), ECO_F_I64("objects", orphans),
            ECO_F_I64("highest_seen", highest_seen), ECO_F_I64("highest_known", p->highest_id));
  }
  p->region->prune_refused = !allowed;
  p->pace = orphans > 0 && allowed ? PACE_BUSY : p->pace;
  for (size_t s = 0; allowed && s < p->seen.count; s++) {
    const replica_observation *seen = &p->seen.list[s];
    if (orphan[s]) {
      eco_status st = p->driver->ops->remove(p->driver, p->region->name, seen->instance_id, seen->replica_id, 0);
      ECO_CRASH_POINT("scheduler.prune.removed");
      eco_log(ECO_LOG_WARN, "object without a row removed", ECO_F_STR("region", p->region->name),
              ECO_F_I64("instance", seen->instance_id), ECO_F_I64("replica", seen->replica_id), ECO_F_STATUS(st));
    }
  }
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

// Before anything is read: what changes meanwhile is then found by the next pass. True: the last one still stands.
static eco_status look_for_changes(pass *p, int64_t started_ms, bool *none) {
  region_memory *m = p->region;
  uint64_t version = 0;
  store_stamp stamp;
  *none = false;
  if (!p->driver->ops->version) {
    return eco_success();
  }
  ECO_TRY(p->driver->ops->version(p->driver, m->name, &version));
  ECO_TRY(read_stamp(p, &stamp));
  *none = started_ms < m->next_whole_ms && version == m->driver_version && same_stamp(&stamp, &m->stamp);
  m->driver_version = version;
  m->stamp = stamp;
  return eco_success();
}

static void remember(pass *p) {
  remembered *known = calloc(p->count * SCHED_REPLICAS_MAX + 1, sizeof(*known));
  size_t n = 0;
  for (size_t k = 0; known && k < p->count; k++) {
    for (int i = 0; i < p->instances[k].replica_count; i++) {
      if (p->facts[k][i].here) {
        known[n++] = (remembered){p->instances[k].id, p->instances[k].replicas[i].id, p->facts[k][i].memory};
      }
    }
  }
  free(p->region->known);
  p->region->known = known;
  p->region->known_count = n;
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
  eco_status st = check_lease(p, tx);
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
  eco_status st = check_lease(p, tx);
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
  region->next_whole_ms = 0;
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
  gather_facts(&p);
  probe_all(&p);
  eco_status failure = eco_success();
  for (size_t k = 0; k < p.count; k++) {
    reconcile_plan plan;
    st = decide(&p, k, &plan);
    if (!eco_ok(st)) {
      failure = eco_context(st, "instance %lld", (long long)p.instances[k].id);
      continue;
    }
    p.undecided = p.undecided || plan.undecided;
    act(&p, k, &plan);
    note_answers(&p, k);
    pace asked = pace_of(&p.instances[k], p.facts[k], &plan);
    p.pace = asked > p.pace ? asked : p.pace;
  }
  prune(&p);
  remember(&p);
  region->last_pass_ms = started_ms;
  // One instance that cannot be judged holds back the watermark, not the region.
  p.undecided = p.undecided || !eco_ok(failure);
  if (!p.undecided && p.pace != PACE_BUSY) {
    region->next_whole_ms = started_ms + pace_ms(p.pace);
  }
  ECO_TRY(advance_watermark(&p, started_ms));
  return failure;
}

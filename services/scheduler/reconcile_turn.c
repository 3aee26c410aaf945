// Instances whose turn it is: read, asked, judged, written, acted on. In batches: what a pass holds in memory and waits
// for does not grow with the region.
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"
#include "move.h"
#include "pace.h"
#include "publish.h"
#include "readiness.h"
#include "reconcile_internal.h"
#include "spec.h"

enum {
  BATCH_MAX = 256,
  DUE_BATCH_MAX = 32,  // of those whose time has come: who has news meanwhile waits for no more
};

typedef struct batch {
  pass *p;
  eco_ctx *ctx;  // of its own: its memory goes with it
  instance_row *instances;
  size_t count;
  replica_facts (*facts)[SCHED_REPLICAS_MAX];  // by instance, by replica
} batch;

static eco_status load(batch *b, const int64_t *ids, size_t n) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(b->ctx->db, &tx));
  eco_status st = store_instance_pick(tx, b->ctx->arena, b->p->region->name, ids, n, &b->instances, &b->count);
  eco_tx_rollback(tx);
  return st;
}

static void gather_facts(batch *b) {
  b->facts = eco_alloc_array(b->ctx->arena, b->count + 1, sizeof(*b->facts));
  for (size_t k = 0; k < b->count; k++) {
    const instance_row *inst = &b->instances[k];
    for (int i = 0; i < inst->replica_count; i++) {
      const replica_row *r = &inst->replicas[i];
      replica_facts *f = &b->facts[k][i];
      f->here = !r->gone && strcmp(r->region, b->p->region->name) == 0;
      if (!f->here) {
        continue;
      }
      const replica_observation *seen = pass_seen(b->p, inst->id, r->id);
      if (seen) {
        f->seen = *seen;
      }
      const roster_entry *known = roster_find(&b->p->region->roster, inst->id, r->id);
      if (known) {
        f->memory = known->memory;
      }
    }
  }
}

static void probe_all(batch *b) {
  ready_target *targets = eco_alloc_array(b->ctx->arena, b->count * SCHED_REPLICAS_MAX + 1, sizeof(*targets));
  int64_t now_ms = eco_boottime_ms();
  replica_facts **whose = eco_alloc_array(b->ctx->arena, b->count * SCHED_REPLICAS_MAX + 1, sizeof(*whose));
  size_t n = 0;
  for (size_t k = 0; k < b->count; k++) {
    const instance_row *inst = &b->instances[k];
    for (int i = 0; i < inst->replica_count; i++) {
      const replica_row *r = &inst->replicas[i];
      replica_facts *f = &b->facts[k][i];
      if (!f->here || !reconcile_wants_probe(inst, r, &f->seen, &f->memory)) {
        continue;
      }
      if (pace_trusts(inst, r, &f->seen, &f->memory, now_ms)) {
        f->probe = PROBE_OK;
      } else if (pace_spares(inst, r, &f->seen, &f->memory, now_ms)) {
        f->probe = PROBE_FAILED;
        snprintf(f->probe_detail, sizeof(f->probe_detail), "%s", r->detail);
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
    whose[i]->memory.silent_ms = targets[i].silent ? eco_boottime_ms() : 0;
  }
}

static eco_status write_effect(batch *b, eco_tx *tx, instance_row *inst, const effect *e) {
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
      return store_event_append(tx, inst, b->ctx->now_us, e->type, e->replica_id, e->message);
  }
  return eco_success();
}

// Judges again on the locked row and writes what changed.
static eco_status decide_locked(batch *b, eco_tx *tx, size_t k, replica_facts *facts, reconcile_plan *plan) {
  ECO_TRY(pass_check_lease(b->p, tx));
  instance_row *inst = &b->instances[k];
  ECO_TRY(store_instance_load(tx, b->ctx->arena, inst->id, STORE_LOCK, inst));
  b->ctx->now_us = eco_now_us();
  reconcile_judge(inst, facts, b->p->seen_us, b->p->watermark_us, b->ctx->now_us, plan);
  if (!reconcile_changed(inst, plan)) {
    return eco_success();
  }
  for (int i = 0; i < plan->effect_count; i++) {
    ECO_TRY(write_effect(b, tx, inst, &plan->effects[i]));
  }
  for (int i = 0; i < inst->replica_count; i++) {
    if (plan->move[i]) {
      const char *why = eco_sprintf(b->ctx->arena, "Replica %d did not become ready in %s after %d attempts",
                                    inst->replicas[i].id, inst->replicas[i].region, inst->replicas[i].attempts);
      ECO_TRY(move_replica(b->ctx, tx, inst, &inst->replicas[i], why));
      bool moved = strcmp(inst->replicas[i].region, b->p->region->name) != 0;
      facts[i].here = !moved;
      plan->actions[i] = moved ? DO_NOTHING : plan->actions[i];
    }
  }
  return instance_write(b->ctx, tx, inst, inst->status != plan->before ? instance_verb(inst) : "changed");
}

// A judgement on what was read without locks tells whether a transaction is due at all.
static eco_status decide(batch *b, size_t k, reconcile_plan *plan) {
  replica_facts facts[SCHED_REPLICAS_MAX];
  instance_row guess = b->instances[k];
  memcpy(facts, b->facts[k], sizeof(facts));
  reconcile_judge(&guess, facts, b->p->seen_us, b->p->watermark_us, eco_now_us(), plan);
  if (!reconcile_changed(&guess, plan)) {
    memcpy(b->facts[k], facts, sizeof(facts));
    return eco_success();
  }
  memcpy(facts, b->facts[k], sizeof(facts));
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(b->ctx->db, &tx));
  eco_status st = decide_locked(b, tx, k, facts, plan);
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("scheduler.reconcile.committed");
  memcpy(b->facts[k], facts, sizeof(facts));
  return eco_success();
}

static eco_status apply(batch *b, const instance_row *inst, const replica_row *r) {
  // An arena of its own: opened secrets must not outlive the call.
  eco_arena *arena = eco_arena_new();
  replica_spec spec;
  eco_tx *tx = NULL;
  eco_status st = eco_tx_begin(b->ctx->db, &tx);
  if (eco_ok(st)) {
    st = spec_load(tx, arena, inst, r, &spec);
    eco_tx_rollback(tx);
  }
  if (eco_ok(st)) {
    st = b->p->driver->ops->apply(b->p->driver, &spec);
    ECO_CRASH_POINT("scheduler.reconcile.applied");
  }
  eco_arena_free(arena);
  return st;
}

static void act(batch *b, size_t k, const reconcile_plan *plan) {
  const instance_row *inst = &b->instances[k];
  for (int i = 0; i < inst->replica_count; i++) {
    const replica_row *r = &inst->replicas[i];
    replica_facts *f = &b->facts[k][i];
    if (!f->here || plan->actions[i] == DO_NOTHING) {
      continue;
    }
    eco_status st;
    if (plan->actions[i] == DO_APPLY) {
      st = apply(b, inst, r);
    } else {
      st = b->p->driver->ops->remove(b->p->driver, b->p->region->name, inst->id, r->id, inst->drain_s);
      ECO_CRASH_POINT("scheduler.reconcile.removed");
    }
    char trouble[SCHED_DETAIL_MAX] = "";
    if (!eco_ok(st)) {
      snprintf(trouble, sizeof(trouble), "cannot be %s: %.120s", plan->actions[i] == DO_APPLY ? "started" : "ended",
               st.message);
    }
    if (*trouble && strcmp(trouble, f->memory.trouble) != 0) {
      eco_log(ECO_LOG_WARN, "driver refused", ECO_F_STR("region", b->p->region->name), ECO_F_I64("instance", inst->id),
              ECO_F_I64("replica", r->id), ECO_F_STATUS(st));
    }
    memcpy(f->memory.trouble, trouble, sizeof(trouble));
    f->memory.applied = f->memory.applied || (plan->actions[i] == DO_APPLY && !*trouble);
  }
}

// Under what circumstances its answer was good: pace_trusts asks whether they still hold.
static void note_answers(batch *b, size_t k) {
  for (int i = 0; i < b->instances[k].replica_count; i++) {
    replica_facts *f = &b->facts[k][i];
    f->memory.answered_version = b->instances[k].version;
    f->memory.answered_ready_us = f->seen.ready_since_us;
  }
}

// What was made of it, so that it has no turn until something differs. due_ms 0: it has the next one, too.
static void note_judged(batch *b, size_t k, int64_t due_ms) {
  const instance_row *inst = &b->instances[k];
  for (int i = 0; i < inst->replica_count; i++) {
    roster_entry *e = roster_find(&b->p->region->roster, inst->id, inst->replicas[i].id);
    if (e) {
      e->version = inst->version;
      e->seen = roster_digest(pass_seen(b->p, inst->id, e->replica_id));
      e->due_ms = due_ms;
      e->memory = b->facts[k][i].memory;
    }
  }
}

static void judge_one(batch *b, size_t k, eco_status *failure) {
  reconcile_plan plan;
  eco_status st = decide(b, k, &plan);
  if (!eco_ok(st)) {
    *failure = eco_context(st, "instance %lld", (long long)b->instances[k].id);
    note_judged(b, k, 0);
    return;
  }
  b->p->undecided = b->p->undecided || plan.undecided;
  act(b, k, &plan);
  note_answers(b, k);
  note_judged(b, k, pace_due_ms(&b->instances[k], b->facts[k], &plan, eco_boottime_ms()));
}

static eco_status judge_batch(pass *p, const int64_t *ids, size_t n, eco_status *failure) {
  batch b = {.p = p, .ctx = eco_ctx_new(p->ctx->service)};
  eco_status st = load(&b, ids, n);
  if (eco_ok(st)) {
    eco_metric_add(
        eco_counter("ecolink_scheduler_judged_total", "Instances read and judged by the regions' passes", NULL),
        (int64_t)b.count);
    gather_facts(&b);
    probe_all(&b);
  }
  for (size_t k = 0; eco_ok(st) && k < b.count; k++) {
    judge_one(&b, k, failure);
  }
  eco_ctx_free(b.ctx);
  return st;
}

static roster_turn turn_of(const pass *p, size_t k, int64_t now_ms) {
  const roster_key *key = &p->keys[k];
  if (!p->driver->ops->version) {
    return ROSTER_NOW;  // a driver that cannot tell whether anything has changed is asked about everything
  }
  uint64_t seen = roster_digest(pass_seen(p, key->instance_id, key->replica_id));
  return roster_turn_of(&p->region->roster.list[k], key->version, seen, now_ms);
}

typedef struct turns {
  int64_t *now;
  size_t now_count;
  int64_t *due;
  size_t due_count;
} turns;

static turns list_turns(const pass *p) {
  turns t = {.now = eco_alloc_array(p->ctx->arena, p->key_count + 1, sizeof(*t.now)),
             .due = eco_alloc_array(p->ctx->arena, p->key_count + 1, sizeof(*t.due))};
  int64_t now_ms = eco_boottime_ms();
  for (size_t k = 0; k < p->key_count;) {
    int64_t id = p->keys[k].instance_id;
    roster_turn turn = ROSTER_WAITS;
    for (; k < p->key_count && p->keys[k].instance_id == id; k++) {
      roster_turn one = turn_of(p, k, now_ms);
      turn = one > turn ? one : turn;
    }
    if (turn == ROSTER_NOW) {
      t.now[t.now_count++] = id;
    } else if (turn == ROSTER_DUE) {
      t.due[t.due_count++] = id;
    }
  }
  return t;
}

static size_t at_most(size_t n, size_t most) {
  return n < most ? n : most;
}

eco_status pass_judge(pass *p, eco_status *failure) {
  turns t = list_turns(p);
  for (size_t i = 0; i < t.now_count; i += BATCH_MAX) {
    ECO_TRY(judge_batch(p, t.now + i, at_most(t.now_count - i, BATCH_MAX), failure));
  }
  // Those left out are due in the next pass, which comes at once.
  for (size_t i = 0; i < t.due_count && (i == 0 || !atomic_load(&p->region->woken)); i += DUE_BATCH_MAX) {
    ECO_TRY(judge_batch(p, t.due + i, at_most(t.due_count - i, DUE_BATCH_MAX), failure));
  }
  return eco_success();
}

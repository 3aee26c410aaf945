// The reconciler's judgement.
#include "reconcile_rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "transition.h"

enum { ESTIMATE_MAX = 64 };
enum { RANK_ABSENT, RANK_STARTING, RANK_ALIVE, RANK_READY };

static effect *add_effect(reconcile_plan *plan, effect_kind kind, const replica_row *r, int64_t at_us) {
  static effect overflow;
  if (plan->effect_count >= PLAN_EFFECTS_MAX) {
    return &overflow;  // cannot be: fewer than 16 effects per replica
  }
  effect *e = &plan->effects[plan->effect_count++];
  *e = (effect){.kind = kind, .replica_id = r ? r->id : 0, .at_us = at_us};
  return e;
}

__attribute__((format(printf, 4, 5))) static void note(reconcile_plan *plan, const replica_row *r, const char *type,
                                                       const char *fmt, ...) {
  effect *e = add_effect(plan, EFFECT_EVENT, r, 0);
  e->type = type;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(e->message, sizeof(e->message), fmt, ap);
  va_end(ap);
}

static bool same_run(const char *a, const char *b) {
  return *a && strcmp(a, b) == 0;
}

bool replica_crash_loops(const replica_row *r, const int64_t exits_us[REPLICA_EXITS_KEPT]) {
  int64_t newest = 0;
  int n = 0;
  for (int i = 0; i < REPLICA_EXITS_KEPT && exits_us[i]; i++) {
    if (exits_us[i] < r->attempt_began_us || exits_us[i] <= r->steady_at_us) {
      break;
    }
    newest = newest ? newest : exits_us[i];
    n++;
    if (n == SCHED_CRASH_LOOP_EXITS) {
      return newest - exits_us[i] <= SCHED_CRASH_LOOP_WINDOW_US;
    }
  }
  return false;
}

bool prune_allowed(int orphans, int observed, int64_t highest_seen, int64_t highest_known) {
  int most = observed / 10 > SCHED_PRUNE_MIN ? observed / 10 : SCHED_PRUNE_MIN;
  return orphans <= most && highest_seen <= highest_known;
}

int retry_after_estimate(int64_t startup_began_us, int64_t now_us) {
  int64_t elapsed_s = (now_us - startup_began_us) / 1000000;
  return elapsed_s < 60 ? 5 : (elapsed_s < 300 ? 15 : 30);
}

bool reconcile_wants_probe(const instance_row *inst, const replica_row *r, const replica_observation *seen,
                           const replica_memory *memory) {
  if (seen->phase != REPLICA_ALIVE || seen->generation < r->generation) {
    return false;
  }
  if (inst->status == ST_PROVISIONING || inst->status == ST_RUNNING) {
    return true;
  }
  // ending: one look decides whether its uptime goes to the stop request or ended before a gap
  return r->interval_started_us && !memory->confirmed && same_run(r->interval_run_id, seen->run_id);
}

// The evidence for the replica's open interval, or for opening one.
static meter_evidence evidence_of(const replica_row *r, const replica_facts *f, bool wanted, int64_t watermark_us) {
  const char *run = r->interval_started_us ? r->interval_run_id : f->seen.run_id;
  bool there = same_run(run, f->seen.run_id) && (f->seen.phase == REPLICA_ALIVE || f->seen.phase == REPLICA_STOPPING);
  if (!there) {
    return METER_ENDED;
  }
  // After a gap the same run must show the same stretch of readiness: what lies between two of them is not uptime. The
  // node's clock may differ from ours by a little.
  if (r->interval_started_us && !f->memory.confirmed && f->seen.ready_since_us > watermark_us + SCHED_NODE_CLOCK_US) {
    return METER_ENDED;
  }
  if (!wanted) {
    return f->probe == PROBE_OK || f->memory.confirmed ? METER_READY : METER_NOT_READY;
  }
  if (f->seen.phase == REPLICA_ALIVE && f->probe == PROBE_OK) {
    return METER_READY;
  }
  bool forgiven = f->seen.phase == REPLICA_ALIVE && r->interval_started_us && f->memory.failures < SCHED_READY_FAILURES;
  return forgiven ? METER_DOUBT : METER_NOT_READY;
}

static void judge_meter(const instance_row *inst, replica_row *r, replica_facts *f, bool wanted, int64_t seen_us,
                        int64_t watermark_us, int64_t now_us, reconcile_plan *plan) {
  meter_input in = {.started_us = r->interval_started_us,
                    .confirmed = f->memory.confirmed,
                    .evidence = evidence_of(r, f, wanted, watermark_us),
                    .seen_us = seen_us,
                    .exit_us = f->seen.exits_us[0],
                    .last_ready_us = f->memory.last_ready_us,
                    .watermark_us = watermark_us,
                    .charge_end_us = inst->charge_end_us,
                    .now_us = now_us};
  meter_step step = meter_judge(&in);
  switch (step.verdict) {
    case METER_NOTHING:
      break;
    case METER_BEGIN: {
      effect *e = add_effect(plan, EFFECT_INTERVAL_OPEN, r, step.at_us);
      memcpy(e->run_id, f->seen.run_id, sizeof(e->run_id));
      r->interval_started_us = step.at_us;
      memcpy(r->interval_run_id, f->seen.run_id, sizeof(r->interval_run_id));
      f->memory.confirmed = true;
      f->memory.last_ready_us = now_us;
      break;
    }
    case METER_GO_ON:
      f->memory.confirmed = true;
      f->memory.last_ready_us = now_us;
      break;
    case METER_WAIT:
      plan->undecided = true;
      break;
    case METER_END: {
      effect *e = add_effect(plan, EFFECT_INTERVAL_CLOSE, r, step.at_us);
      memcpy(e->run_id, r->interval_run_id, sizeof(e->run_id));
      r->interval_started_us = 0;
      f->memory.confirmed = false;
      f->memory.last_ready_us = 0;
      break;
    }
  }
}

// Whether the address has changed.
static bool follow_run(replica_row *r, const replica_facts *f, int64_t now_us, reconcile_plan *plan) {
  if (strcmp(r->run_id, f->seen.run_id) != 0) {
    if (*r->run_id) {
      effect *e = add_effect(plan, EFFECT_RUN_ENDED, r, f->seen.exits_us[0] ? f->seen.exits_us[0] : now_us);
      memcpy(e->run_id, r->run_id, sizeof(e->run_id));
    }
    memcpy(r->run_id, f->seen.run_id, sizeof(r->run_id));
    if (*r->run_id) {
      effect *e = add_effect(plan, EFFECT_RUN_SEEN, r, now_us);
      memcpy(e->run_id, r->run_id, sizeof(e->run_id));
    }
    r->dirty = true;
  }
  bool moved = strcmp(r->host, f->seen.host) != 0 || r->port != f->seen.port;
  if (moved || r->restarts != f->seen.restarts) {
    memcpy(r->host, f->seen.host, sizeof(r->host));
    r->port = f->seen.port;
    r->restarts = f->seen.restarts;
    r->dirty = true;
  }
  return moved;
}

// Only going further than before, or news while an image or weights arrive, is progress: a crash loop is none.
static void follow_progress(instance_row *inst, replica_row *r, int rank, bool news, int64_t now_us) {
  if (rank > r->best_phase) {
    r->best_phase = rank;
    r->dirty = true;
    news = true;
  }
  if (news && inst->status == ST_PROVISIONING) {
    inst->progress_at_us = now_us;
    inst->dirty = true;
  }
}

static void lose_ready(replica_row *r, const char *why, int64_t now_us, reconcile_plan *plan) {
  if (r->ready) {
    replica_set_ready(r, false, now_us);
    note(plan, r, "replica.not_ready", "Replica %d in %s is not ready: %s.", r->id, r->region, why);
  }
}

// A replica that should run: phase by phase. `moved`: gateways do not know its address yet.
static driver_action judge_wanted(instance_row *inst, replica_row *r, replica_facts *f, bool moved, int64_t now_us,
                                  reconcile_plan *plan) {
  const replica_observation *seen = &f->seen;
  if (seen->phase == REPLICA_ABSENT || seen->generation < r->generation) {
    lose_ready(r, seen->phase == REPLICA_ABSENT ? "it does not exist any more" : "it is being replaced", now_us, plan);
    if (seen->phase == REPLICA_ABSENT) {
      replica_set_status(r, RS_PENDING);
      replica_set_detail(r, *f->memory.trouble ? f->memory.trouble : "waiting to be created");
    }
    return DO_APPLY;
  }
  switch (seen->phase) {
    case REPLICA_STARTING: {
      lose_ready(r, seen->need == DRIVER_NEEDS_SPEC || !*seen->detail ? "it was started again" : seen->detail, now_us,
                 plan);
      replica_set_status(r, RS_STARTING);
      bool news = strcmp(r->detail, seen->detail) != 0;
      replica_set_detail(r, *seen->detail ? seen->detail : "starting");
      follow_progress(inst, r, RANK_STARTING, news, now_us);
      break;
    }
    case REPLICA_ALIVE:
      if (f->probe == PROBE_OK || (r->ready && f->probe == PROBE_FAILED && f->memory.failures < SCHED_READY_FAILURES)) {
        if (!r->ready) {
          replica_set_ready(r, true, now_us);
          note(plan, r, "replica.ready", "Replica %d in %s is ready.", r->id, r->region);
        }
        if (r->attempts || r->crash_looping) {
          r->attempts = 0;
          r->crash_looping = false;
          r->dirty = true;
        }
        replica_set_status(r, RS_READY);
        replica_set_detail(r, "ready");
        follow_progress(inst, r, RANK_READY, false, now_us);
      } else if (f->probe == PROBE_FAILED) {
        lose_ready(r, f->probe_detail, now_us, plan);
        replica_set_status(r, RS_STARTING);
        replica_set_detail(r, *f->probe_detail ? f->probe_detail : "loading");
        follow_progress(inst, r, RANK_ALIVE, false, now_us);
      }
      break;
    case REPLICA_EXITED: {
      lose_ready(r, *seen->detail ? seen->detail : "it exited", now_us, plan);
      if (r->status != RS_BACKOFF) {  // once per exit: a countdown in the detail is no news
        replica_set_status(r, RS_BACKOFF);
        replica_set_detail(r, *seen->detail ? seen->detail : "exited, waits for its restart");
        note(plan, r, "replica.exited", "Replica %d in %s: %s.", r->id, r->region,
             *seen->detail ? seen->detail : "exited");
      }
      follow_progress(inst, r, RANK_STARTING, false, now_us);
      break;
    }
    default:
      lose_ready(r, "it is ending", now_us, plan);
      replica_set_status(r, RS_STARTING);
      replica_set_detail(r, "being replaced");
      break;
  }
  if (!r->ready && !r->crash_looping && replica_crash_loops(r, seen->exits_us)) {
    r->crash_looping = true;
    r->dirty = true;
    note(plan, r, "replica.crash_loop", "Replica %d in %s keeps exiting: %d exits within 10 minutes.", r->id, r->region,
         SCHED_CRASH_LOOP_EXITS);
  }
  switch (seen->need) {
    case DRIVER_NEEDS_NOTHING:
      return DO_NOTHING;
    case DRIVER_NEEDS_APPLY:
      return DO_APPLY;
    case DRIVER_NEEDS_TIDY:
      return r->ready && !moved ? DO_APPLY : DO_NOTHING;
    case DRIVER_NEEDS_SPEC:
      break;
  }
  return f->memory.applied ? DO_NOTHING : DO_APPLY;  // an adopted replica needs its specification for the next restart
}

// A replica that should be gone. It is asked to end only once its uptime is settled, so that the stop itself costs no
// proof.
static driver_action judge_unwanted(replica_row *r, const replica_facts *f, reconcile_plan *plan) {
  if (f->seen.phase == REPLICA_ABSENT) {
    r->gone = true;
    replica_set_status(r, RS_STOPPED);
    replica_set_detail(r, "stopped");
    r->dirty = true;
    if (r->reserved) {
      r->reserved = false;
      add_effect(plan, EFFECT_RELEASE, r, 0);
    }
    note(plan, r, "replica.stopped", "Replica %d in %s has ended.", r->id, r->region);
    return DO_NOTHING;
  }
  return r->interval_started_us ? DO_NOTHING : DO_REMOVE;
}

// Restart, one region at a time: the next one goes when no replica that went before is still on its way.
static void roll_next(instance_row *inst, replica_facts *facts, int64_t watermark_us, int64_t now_us,
                      reconcile_plan *plan) {
  int next = -1;
  for (int i = 0; i < inst->replica_count; i++) {
    replica_row *r = &inst->replicas[i];
    if (r->rolled >= inst->generation) {
      if (!r->ready) {
        return;
      }
    } else if (next < 0 || (!r->ready && inst->replicas[next].ready)) {
      next = i;
    }
  }
  if (next < 0 || !facts[next].here) {
    return;
  }
  replica_row *r = &inst->replicas[next];
  if (r->interval_started_us) {
    int64_t proved_us =
        facts[next].memory.last_ready_us > watermark_us ? facts[next].memory.last_ready_us : watermark_us;
    proved_us = proved_us > r->interval_started_us ? proved_us : r->interval_started_us;
    effect *e = add_effect(plan, EFFECT_INTERVAL_CLOSE, r, proved_us);
    memcpy(e->run_id, r->interval_run_id, sizeof(e->run_id));
    r->interval_started_us = 0;
    facts[next].memory.confirmed = false;
  }
  r->rolled = inst->generation;
  transition_replace(r, now_us, "restarting");
  plan->actions[next] = DO_APPLY;
  note(plan, r, "replica.restarting", "Replica %d in %s is being restarted.", r->id, r->region);
}

// Beside a running sibling: a fresh attempt after each missed deadline.
static void retry_late(instance_row *inst, replica_facts *facts, int64_t now_us, reconcile_plan *plan) {
  for (int i = 0; i < inst->replica_count; i++) {
    replica_row *r = &inst->replicas[i];
    int64_t since_us = r->attempt_began_us > r->ready_changed_us ? r->attempt_began_us : r->ready_changed_us;
    if (!facts[i].here || r->ready || r->interval_started_us ||
        now_us - since_us <= inst->startup_deadline_s * INT64_C(1000000)) {
      continue;
    }
    r->attempts++;
    plan->move[i] = r->attempts % SCHED_ATTEMPTS_PER_REGION == 0;
    transition_replace(r, now_us, "did not become ready in time, trying again");
    plan->actions[i] = DO_APPLY;
    note(plan, r, "replica.retried", "Replica %d in %s did not become ready in time: attempt %d.", r->id, r->region,
         r->attempts + 1);
  }
}

// "about 3 min to go", from how long it took before; rounded, so that it changes once a minute.
static void estimate(const instance_row *inst, int64_t now_us, char out[ESTIMATE_MAX]) {
  out[0] = '\0';
  int64_t left_s = inst->startup_estimate_s - (now_us - inst->startup_began_us) / 1000000;
  if (inst->startup_estimate_s <= 0) {
    return;
  }
  if (left_s < 0) {
    (void)snprintf(out, ESTIMATE_MAX, " (it takes longer than before)");
  } else if (left_s < 60) {
    (void)snprintf(out, ESTIMATE_MAX, " (less than a minute to go)");
  } else {
    (void)snprintf(out, ESTIMATE_MAX, " (about %lld min to go)", (long long)((left_s + 59) / 60));
  }
}

static void describe(instance_row *inst, int64_t now_us) {
  char guess[ESTIMATE_MAX];
  estimate(inst, now_us, guess);
  int ready = instance_ready_count(inst);
  const replica_row *worst = NULL;
  for (int i = 0; i < inst->replica_count; i++) {
    if (!inst->replicas[i].ready && (!worst || inst->replicas[i].best_phase > worst->best_phase)) {
      worst = &inst->replicas[i];
    }
  }
  if (inst->status == ST_RUNNING && !worst) {
    instance_set_detail(inst, "%d of %d replicas ready", ready, inst->total_replicas);
  } else if (inst->status == ST_RUNNING && worst) {
    instance_set_detail(inst, "%d of %d replicas ready; replica %d in %s: %.80s", ready, inst->total_replicas,
                        worst->id, worst->region, worst->detail);
  } else if (inst->status == ST_PROVISIONING && worst) {
    // after the first start the image and the weights are there: what was measured then says nothing
    instance_set_detail(inst, "%sreplica %d in %s: %.80s%s", inst->running_at_us ? "recovering; " : "", worst->id,
                        worst->region, worst->detail, inst->running_at_us ? "" : guess);
  }
}

static void apply_event(instance_row *inst, lifecycle_event event, termination_reason reason, int64_t now_us,
                        reconcile_plan *plan) {
  lifecycle_action action = transition_apply(inst, event, reason, now_us);
  switch (action) {
    case ACT_RUN:
      note(plan, NULL, "instance.running", "Running: %d of %d replicas ready.", instance_ready_count(inst),
           inst->total_replicas);
      break;
    case ACT_RECOVER:
      note(plan, NULL, "instance.recovering", "No replica is ready: recovering.");
      break;
    case ACT_FAIL:
      note(plan, NULL, "instance.failed", "%c%.200s.", inst->detail[0] - 'a' + 'A', inst->detail + 1);
      break;
    case ACT_FINISH:
      note(plan, NULL, "instance.stopped", "Stopped.");
      break;
    default:
      break;
  }
}

static void judge_instance(instance_row *inst, int64_t now_us, reconcile_plan *plan) {
  bool all_gone = true;
  bool all_crash = true;
  for (int i = 0; i < inst->replica_count; i++) {
    all_gone = all_gone && inst->replicas[i].gone;
    all_crash = all_crash && inst->replicas[i].crash_looping && !inst->replicas[i].ready;
  }
  if (inst->status == ST_STOPPING || inst->status == ST_FAILED) {
    if (all_gone) {
      apply_event(inst, EV_ALL_GONE, TR_NONE, now_us, plan);
    }
    return;
  }
  apply_event(inst, instance_ready_count(inst) > 0 ? EV_SOME_READY : EV_NONE_READY, TR_NONE, now_us, plan);
  if (all_crash) {
    apply_event(inst, EV_CRASH_LOOP, TR_CRASH_LOOP, now_us, plan);
  } else if (now_us - inst->progress_at_us > inst->startup_deadline_s * INT64_C(1000000) ||
             now_us - inst->startup_began_us > SCHED_STARTUP_TOTAL_US) {
    apply_event(inst, EV_STARTUP_EXPIRED, TR_STARTUP_FAILED, now_us, plan);
  }
}

void reconcile_judge(instance_row *inst, replica_facts *facts, int64_t seen_us, int64_t watermark_us, int64_t now_us,
                     reconcile_plan *plan) {
  *plan = (reconcile_plan){.before = inst->status};
  bool wanted = inst->status == ST_PROVISIONING || inst->status == ST_RUNNING;
  bool charge_ended = inst->charge_end_us != 0;
  if (inst->status == ST_PENDING) {
    return;  // its launch has no answer yet
  }
  for (int i = 0; i < inst->replica_count; i++) {
    replica_row *r = &inst->replicas[i];
    replica_facts *f = &facts[i];
    if (!f->here || r->gone) {
      continue;
    }
    if (strcmp(f->memory.run_id, f->seen.run_id) != 0) {
      memcpy(f->memory.run_id, f->seen.run_id, sizeof(f->memory.run_id));
      f->memory.failures = 0;
    }
    f->memory.failures = f->probe == PROBE_FAILED ? f->memory.failures + 1 : 0;
    judge_meter(inst, r, f, wanted, seen_us, watermark_us, now_us, plan);
    if (f->seen.phase == REPLICA_ABSENT) {
      f->seen.run_id[0] = f->seen.host[0] = '\0';
      f->seen.port = 0;
      f->seen.restarts = r->restarts;
    }
    if (wanted && *r->run_id && strcmp(r->run_id, f->seen.run_id) != 0 && f->probe != PROBE_OK) {
      lose_ready(r, "it ended", now_us, plan);
    }
    bool moved = follow_run(r, f, now_us, plan);
    plan->actions[i] = wanted ? judge_wanted(inst, r, f, moved, now_us, plan) : judge_unwanted(r, f, plan);
    // a run that ended while another began before this pass: the new one's interval begins now
    if (wanted && r->ready && !r->interval_started_us) {
      judge_meter(inst, r, f, wanted, seen_us, watermark_us, now_us, plan);
    }
  }
  judge_instance(inst, now_us, plan);
  if (inst->status == ST_PROVISIONING || inst->status == ST_RUNNING) {
    roll_next(inst, facts, watermark_us, now_us, plan);
    if (inst->status == ST_RUNNING) {
      retry_late(inst, facts, now_us, plan);
    }
    judge_instance(inst, now_us, plan);
    describe(inst, now_us);
  }
  if (!charge_ended) {
    transition_keep_proved(inst, watermark_us);
  }
  for (int i = 0; i < inst->replica_count; i++) {
    if (inst->status != plan->before && (inst->status == ST_FAILED || inst->status == ST_STOPPED)) {
      plan->actions[i] = DO_NOTHING;  // it has just ended: the next pass removes
    }
  }
}

bool reconcile_changed(const instance_row *inst, const reconcile_plan *plan) {
  bool changed = inst->dirty || plan->effect_count > 0;
  for (int i = 0; i < inst->replica_count; i++) {
    changed = changed || inst->replicas[i].dirty;
  }
  return changed;
}

// The rules of pace.
#include "pace.h"

#include <string.h>

static pace of_replica(const instance_row *inst, const replica_row *r, const replica_facts *f, driver_action action) {
  const replica_observation *seen = &f->seen;
  if (action != DO_NOTHING || f->memory.failures > 0 || *f->memory.trouble || seen->need != DRIVER_NEEDS_NOTHING ||
      f->probe == PROBE_NONE) {
    // a starting replica is not asked: that alone is no haste
    bool starts = action == DO_NOTHING && f->memory.failures == 0 && !*f->memory.trouble &&
                  seen->need == DRIVER_NEEDS_NOTHING && seen->phase != REPLICA_ALIVE && seen->phase != REPLICA_ABSENT;
    return starts ? PACE_WAITING : PACE_BUSY;
  }
  bool settled = inst->status == ST_RUNNING && r->ready && seen->phase == REPLICA_ALIVE &&
                 seen->generation >= r->generation && r->rolled >= inst->generation;
  return settled ? PACE_QUIET : PACE_BUSY;
}

pace pace_of(const instance_row *inst, const replica_facts *facts, const reconcile_plan *plan) {
  pace out = plan->undecided ? PACE_BUSY : PACE_QUIET;
  for (int i = 0; i < inst->replica_count; i++) {
    if (facts[i].here && !inst->replicas[i].gone) {
      pace p = of_replica(inst, &inst->replicas[i], &facts[i], plan->actions[i]);
      out = p > out ? p : out;
    } else if (!inst->replicas[i].ready) {
      // deadlines of the instance run while a replica elsewhere is not Ready
      out = out > PACE_WAITING ? out : PACE_WAITING;
    }
  }
  return out;
}

// Spread out, so that what was asked together is not asked together for ever.
static int64_t trusted_until_ms(const instance_row *inst, const replica_row *r, const replica_memory *memory) {
  return memory->answered_ms + PACE_ASK_MS - (inst->id * 7919 + r->id * 104729) % (PACE_ASK_MS / 4);
}

int64_t pace_due_ms(const instance_row *inst, const replica_facts *facts, const reconcile_plan *plan, int64_t now_ms) {
  switch (pace_of(inst, facts, plan)) {
    case PACE_QUIET:
      break;
    case PACE_WAITING:
      return now_ms + PACE_WAITING_MS;
    default:
      return 0;
  }
  int64_t due_ms = now_ms + PACE_ASK_MS;
  for (int i = 0; i < inst->replica_count; i++) {
    if (facts[i].here && !inst->replicas[i].gone) {
      bool judged = facts[i].seen.ready_since_us != 0;  // by its node
      int64_t until_ms = judged ? trusted_until_ms(inst, &inst->replicas[i], &facts[i].memory) : now_ms;
      due_ms = until_ms < due_ms ? until_ms : due_ms;
    }
  }
  due_ms = due_ms > now_ms ? due_ms : now_ms;
  return (due_ms / PACE_QUIET_MS + 1) * PACE_QUIET_MS;  // those of ten seconds together
}

// Judged Ready by its node, and nothing has changed since it was asked.
static bool as_when_asked(const instance_row *inst, const replica_row *r, const replica_observation *seen,
                          const replica_memory *memory) {
  return seen->phase == REPLICA_ALIVE && seen->ready_since_us && strcmp(r->run_id, seen->run_id) == 0 &&
         strcmp(r->host, seen->host) == 0 && r->port == seen->port && memory->answered_version == inst->version &&
         memory->answered_ready_us == seen->ready_since_us;
}

bool pace_trusts(const instance_row *inst, const replica_row *r, const replica_observation *seen,
                 const replica_memory *memory, int64_t now_ms) {
  return r->ready && memory->failures == 0 && memory->answered_ms && now_ms < trusted_until_ms(inst, r, memory) &&
         as_when_asked(inst, r, seen, memory);
}

bool pace_spares(const instance_row *inst, const replica_row *r, const replica_observation *seen,
                 const replica_memory *memory, int64_t now_ms) {
  return !r->ready && !r->interval_started_us && memory->silent_ms && now_ms < memory->silent_ms + PACE_SILENT_MS &&
         as_when_asked(inst, r, seen, memory);
}

// Lifecycle steps applied to rows.
#include "transition.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void instance_set_detail(instance_row *inst, const char *fmt, ...) {
  char text[SCHED_DETAIL_MAX];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  if (strcmp(text, inst->detail) != 0) {
    memcpy(inst->detail, text, sizeof(text));
    inst->dirty = true;
  }
}

void replica_set_detail(replica_row *r, const char *detail) {
  char text[SCHED_DETAIL_MAX];
  snprintf(text, sizeof(text), "%s", detail);
  if (strcmp(text, r->detail) != 0) {
    memcpy(r->detail, text, sizeof(text));
    r->dirty = true;
  }
}

void replica_set_status(replica_row *r, replica_status status) {
  if (r->status != status) {
    r->status = status;
    r->dirty = true;
  }
}

void replica_set_ready(replica_row *r, bool ready, int64_t at_us) {
  if (r->ready == ready) {
    return;
  }
  if (!ready && r->ready_changed_us && at_us - r->ready_changed_us >= SCHED_STEADY_US) {
    r->steady_at_us = at_us;  // exits before a steady run do not count towards a crash loop
  }
  r->ready = ready;
  r->ready_changed_us = at_us;
  r->dirty = true;
}

void transition_replace(replica_row *r, int64_t now_us, const char *detail) {
  replica_set_ready(r, false, now_us);
  r->generation++;
  r->attempt_began_us = now_us;
  r->best_phase = 0;
  r->crash_looping = false;
  replica_set_status(r, RS_STARTING);
  replica_set_detail(r, detail);
  r->dirty = true;
}

static void begin_startup(instance_row *inst, int64_t now_us) {
  inst->startup_began_us = now_us;
  inst->progress_at_us = now_us;
  for (int i = 0; i < inst->replica_count; i++) {
    inst->replicas[i].best_phase = 0;
    inst->replicas[i].dirty = true;
  }
}

static void end_replicas(instance_row *inst, int64_t now_us) {
  for (int i = 0; i < inst->replica_count; i++) {
    replica_row *r = &inst->replicas[i];
    if (!r->gone) {
      replica_set_ready(r, false, now_us);
      replica_set_status(r, RS_STOPPING);
      replica_set_detail(r, "stopping");
    }
  }
}

static const char *reason_words(termination_reason reason) {
  switch (reason) {
    case TR_USER_REQUESTED:
      return "stop requested";
    case TR_CREDIT_DEPLETED:
      return "credit balance depleted";
    case TR_STARTUP_FAILED:
      return "no replica became ready within the startup deadline";
    case TR_CRASH_LOOP:
      return "every replica keeps exiting shortly after its start";
    case TR_CAPACITY_LOST:
      return "the region that held it was lost";
    case TR_ADMIN:
      return "stopped by an operator";
    default:
      return "ended";
  }
}

void transition_keep_proved(instance_row *inst, int64_t proved_us) {
  if (inst->charge_end_us && inst->charge_end_us < proved_us) {
    inst->charge_end_us = proved_us;
  }
}

lifecycle_action transition_apply(instance_row *inst, lifecycle_event event, termination_reason reason,
                                  int64_t now_us) {
  lifecycle_step step = lifecycle_next(inst->status, event);
  switch (step.action) {
    case ACT_NONE:
    case ACT_REFUSE:
    case ACT_RELEASE:
      return step.action;
    case ACT_PROVISION:
      snprintf(inst->launch_state, sizeof(inst->launch_state), "done");
      begin_startup(inst, now_us);
      for (int i = 0; i < inst->replica_count; i++) {
        inst->replicas[i].attempt_began_us = now_us;
      }
      instance_set_detail(inst, "accepted, starting %d replica%s", inst->total_replicas,
                          inst->total_replicas == 1 ? "" : "s");
      break;
    case ACT_DISCARD:
      snprintf(inst->launch_state, sizeof(inst->launch_state), "discarded");
      inst->charge_end_us = now_us;
      inst->stopped_at_us = now_us;
      instance_set_detail(inst, "the launch did not happen");
      break;
    case ACT_RUN:
      inst->running_at_us = inst->running_at_us ? inst->running_at_us : now_us;
      break;
    case ACT_RECOVER:
      begin_startup(inst, now_us);
      instance_set_detail(inst, "recovering: no replica is ready");
      break;
    case ACT_REPLACE:
      inst->generation++;
      break;
    case ACT_STOP:
      inst->reason = reason;
      inst->stop_requested_at_us = now_us;
      inst->charge_end_us = now_us;
      end_replicas(inst, now_us);
      instance_set_detail(inst, "stopping: %s", reason_words(reason));
      break;
    case ACT_FAIL:
      inst->reason = reason;
      inst->charge_end_us = now_us;
      inst->stopped_at_us = now_us;
      end_replicas(inst, now_us);
      instance_set_detail(inst, "failed: %s", reason_words(reason));
      break;
    case ACT_FINISH:
      inst->stopped_at_us = now_us;
      instance_set_detail(inst, "stopped: %s", reason_words(inst->reason));
      break;
  }
  inst->status = step.next;
  inst->dirty = true;
  return step.action;
}

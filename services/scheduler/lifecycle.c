// The instance's state machine as a table.
#include "lifecycle.h"

// Rows by state, columns by event, in the order of LIFECYCLE_EVENTS. `stop` is legal in every live state and harmless
// in every other; nothing leaves a terminal state.
static const lifecycle_step TABLE[LIFECYCLE_STATES][EV_COUNT] = {
    [ST_PENDING - 1] = {[EV_CONFIRMED] = {ST_PROVISIONING, ACT_PROVISION},
                        [EV_DISCARDED] = {ST_FAILED, ACT_DISCARD},
                        [EV_SOME_READY] = {ST_PENDING, ACT_NONE},
                        [EV_NONE_READY] = {ST_PENDING, ACT_NONE},
                        [EV_RESTART] = {ST_PENDING, ACT_REFUSE},
                        [EV_STOP] = {ST_STOPPING, ACT_STOP},
                        [EV_STARTUP_EXPIRED] = {ST_PENDING, ACT_NONE},
                        [EV_CRASH_LOOP] = {ST_PENDING, ACT_NONE},
                        [EV_CAPACITY_LOST] = {ST_PENDING, ACT_NONE},
                        [EV_ALL_GONE] = {ST_PENDING, ACT_NONE}},
    [ST_PROVISIONING - 1] = {[EV_CONFIRMED] = {ST_PROVISIONING, ACT_NONE},
                             [EV_DISCARDED] = {ST_PROVISIONING, ACT_REFUSE},
                             [EV_SOME_READY] = {ST_RUNNING, ACT_RUN},
                             [EV_NONE_READY] = {ST_PROVISIONING, ACT_NONE},
                             [EV_RESTART] = {ST_PROVISIONING, ACT_REPLACE},
                             [EV_STOP] = {ST_STOPPING, ACT_STOP},
                             [EV_STARTUP_EXPIRED] = {ST_FAILED, ACT_FAIL},
                             [EV_CRASH_LOOP] = {ST_FAILED, ACT_FAIL},
                             [EV_CAPACITY_LOST] = {ST_FAILED, ACT_FAIL},
                             [EV_ALL_GONE] = {ST_PROVISIONING, ACT_NONE}},
    [ST_RUNNING - 1] = {[EV_CONFIRMED] = {ST_RUNNING, ACT_NONE},
                        [EV_DISCARDED] = {ST_RUNNING, ACT_REFUSE},
                        [EV_SOME_READY] = {ST_RUNNING, ACT_NONE},
                        [EV_NONE_READY] = {ST_PROVISIONING, ACT_RECOVER},
                        [EV_RESTART] = {ST_RUNNING, ACT_REPLACE},
                        [EV_STOP] = {ST_STOPPING, ACT_STOP},
                        [EV_STARTUP_EXPIRED] = {ST_RUNNING, ACT_NONE},
                        [EV_CRASH_LOOP] = {ST_FAILED, ACT_FAIL},
                        [EV_CAPACITY_LOST] = {ST_FAILED, ACT_FAIL},
                        [EV_ALL_GONE] = {ST_RUNNING, ACT_NONE}},
    [ST_STOPPING - 1] = {[EV_CONFIRMED] = {ST_STOPPING, ACT_NONE},
                         [EV_DISCARDED] = {ST_STOPPING, ACT_NONE},
                         [EV_SOME_READY] = {ST_STOPPING, ACT_NONE},
                         [EV_NONE_READY] = {ST_STOPPING, ACT_NONE},
                         [EV_RESTART] = {ST_STOPPING, ACT_REFUSE},
                         [EV_STOP] = {ST_STOPPING, ACT_NONE},
                         [EV_STARTUP_EXPIRED] = {ST_STOPPING, ACT_NONE},
                         [EV_CRASH_LOOP] = {ST_STOPPING, ACT_NONE},
                         [EV_CAPACITY_LOST] = {ST_STOPPING, ACT_NONE},
                         [EV_ALL_GONE] = {ST_STOPPED, ACT_FINISH}},
    [ST_STOPPED - 1] = {[EV_CONFIRMED] = {ST_STOPPED, ACT_NONE},
                        [EV_DISCARDED] = {ST_STOPPED, ACT_NONE},
                        [EV_SOME_READY] = {ST_STOPPED, ACT_NONE},
                        [EV_NONE_READY] = {ST_STOPPED, ACT_NONE},
                        [EV_RESTART] = {ST_STOPPED, ACT_REFUSE},
                        [EV_STOP] = {ST_STOPPED, ACT_NONE},
                        [EV_STARTUP_EXPIRED] = {ST_STOPPED, ACT_NONE},
                        [EV_CRASH_LOOP] = {ST_STOPPED, ACT_NONE},
                        [EV_CAPACITY_LOST] = {ST_STOPPED, ACT_NONE},
                        [EV_ALL_GONE] = {ST_STOPPED, ACT_NONE}},
    [ST_FAILED - 1] = {[EV_CONFIRMED] = {ST_FAILED, ACT_NONE},
                       [EV_DISCARDED] = {ST_FAILED, ACT_NONE},
                       [EV_SOME_READY] = {ST_FAILED, ACT_NONE},
                       [EV_NONE_READY] = {ST_FAILED, ACT_NONE},
                       [EV_RESTART] = {ST_FAILED, ACT_REFUSE},
                       [EV_STOP] = {ST_FAILED, ACT_NONE},
                       [EV_STARTUP_EXPIRED] = {ST_FAILED, ACT_NONE},
                       [EV_CRASH_LOOP] = {ST_FAILED, ACT_NONE},
                       [EV_CAPACITY_LOST] = {ST_FAILED, ACT_NONE},
                       [EV_ALL_GONE] = {ST_FAILED, ACT_RELEASE}},
};

lifecycle_step lifecycle_next(instance_status state, lifecycle_event event) {
  if (state < ST_PENDING || state > ST_FAILED || event < 0 || event >= EV_COUNT) {
    return (lifecycle_step){state, ACT_REFUSE};
  }
  return TABLE[state - 1][event];
}

const char *lifecycle_event_word(lifecycle_event event) {
  static const char *const words[EV_COUNT] = {
#define X(name, word) [name] = (word),
      LIFECYCLE_EVENTS(X)
#undef X
  };
  return event >= 0 && event < EV_COUNT ? words[event] : "unknown";
}

const char *instance_status_word(instance_status state) {
  static const char *const words[LIFECYCLE_STATES] = {"pending",  "provisioning", "running",
                                                      "stopping", "stopped",      "failed"};
  return state >= ST_PENDING && state <= ST_FAILED ? words[state - 1] : "unknown";
}

void lifecycle_draw(FILE *out) {
  fputs("stateDiagram-v2\n    [*] --> pending : launch accepted\n", out);
  for (int s = ST_PENDING; s <= ST_FAILED; s++) {
    for (int e = 0; e < EV_COUNT; e++) {
      lifecycle_step step = lifecycle_next((instance_status)s, (lifecycle_event)e);
      if (step.next != (instance_status)s) {
        fprintf(out, "    %s --> %s : %s\n", instance_status_word((instance_status)s), instance_status_word(step.next),
                lifecycle_event_word((lifecycle_event)e));
      }
    }
  }
  fputs("    stopped --> [*]\n    failed --> [*]\n", out);
}

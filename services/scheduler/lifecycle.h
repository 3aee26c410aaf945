// The instance's state machine: one table, state x event -> next state and action. Pure.
//
// Every change of an instance's status goes through lifecycle_next; a test walks each cell, and README.md's picture is
// printed from the table (lifecycle_draw).
#ifndef SCHEDULER_LIFECYCLE_H
#define SCHEDULER_LIFECYCLE_H

#include <stdio.h>

#include "instance.h"

// X(enumerator, word in the picture)
#define LIFECYCLE_EVENTS(X)                        \
  X(EV_CONFIRMED, "hold placed")                   \
  X(EV_DISCARDED, "launch refused or unanswered")  \
  X(EV_SOME_READY, "a replica is Ready")           \
  X(EV_NONE_READY, "no replica is Ready")          \
  X(EV_RESTART, "restart asked")                   \
  X(EV_STOP, "stop asked")                         \
  X(EV_STARTUP_EXPIRED, "startup deadline missed") \
  X(EV_CRASH_LOOP, "every replica crash-loops")    \
  X(EV_CAPACITY_LOST, "its region is lost")        \
  X(EV_ALL_GONE, "every replica seen gone")

typedef enum lifecycle_event {
#define X(name, word) name,
  LIFECYCLE_EVENTS(X)
#undef X
      EV_COUNT
} lifecycle_event;

typedef enum lifecycle_action {
  ACT_NONE,       // nothing changes: the event is late or repeated
  ACT_REFUSE,     // 409 wrong_state
  ACT_PROVISION,  // show it to its owner and let the reconcilers build it
  ACT_DISCARD,    // it never was: release, forget
  ACT_RUN,        // first Ready replica
  ACT_RECOVER,    // back to provisioning; the startup deadline starts anew
  ACT_REPLACE,    // a new generation, one region at a time
  ACT_STOP,       // route away, charging ends, drain
  ACT_FAIL,       // as a stop, with what went wrong
  ACT_FINISH,     // stopped
  ACT_RELEASE,    // failed and gone: only the reservations are left to release
} lifecycle_action;

typedef struct lifecycle_step {
  instance_status next;
  lifecycle_action action;
} lifecycle_step;

enum { LIFECYCLE_STATES = 6 };

// An unknown state or event is a bug: it answers {state, ACT_REFUSE}.
lifecycle_step lifecycle_next(instance_status state, lifecycle_event event);
const char *lifecycle_event_word(lifecycle_event event);
const char *instance_status_word(instance_status state);
// The picture as a Mermaid state diagram.
void lifecycle_draw(FILE *out);

#endif

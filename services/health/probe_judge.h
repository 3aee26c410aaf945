// The verdict on one replica: state + observation + now -> new state. Pure; any thread.
//
// Two kinds of evidence. Probes are judged by streaks with hysteresis: `unhealthy_after` failures in a row condemn,
// `healthy_after` successes in a row acquit; the first success of a replica that was never judged acquits at once.
// Gateways' reports are judged by their mixture within a window: a replica whose requests fail while its health path
// answers is condemned too, and acquitted only when the window has passed without new failures. A report without any
// success also counts as one failed probe, so that a dead replica is noticed before its next probes are due.
#ifndef HEALTH_PROBE_JUDGE_H
#define HEALTH_PROBE_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "ecolink/v1/health.pb-c.h"
#include "health_limits.h"

typedef struct probe_rules {
  int unhealthy_after;
  int healthy_after;
  int64_t passive_window_us;
} probe_rules;

typedef struct probe_state {
  Ecolink__V1__HealthState state;
  char reason[HEALTH_REASON_MAX];  // of the last change
  int64_t since_us;                // of the last change
  int failures;                    // in a row; 0 while successes > 0
  int successes;                   // in a row; 0 while failures > 0
  int64_t passive_failures;        // within the window that began at passive_since_us
  int64_t passive_successes;
  int64_t passive_since_us;
  int64_t passive_last_us;  // last failed request; 0: none
} probe_state;

typedef struct probe_observation {
  enum { PROBE_OK, PROBE_FAILED, PROBE_REPORTED } kind;
  const char *reason;  // PROBE_FAILED: what went wrong; PROBE_REPORTED: kind of failure
  int64_t failures;    // PROBE_REPORTED
  int64_t successes;
} probe_observation;

// Starts a replica (or a new run of it) whose last known verdict is given.
void probe_state_init(probe_state *s, Ecolink__V1__HealthState state, const char *reason, int64_t since_us);
// Returns whether `state` changed; reason and since_us tell of the change then.
bool probe_judge(const probe_rules *rules, probe_state *s, const probe_observation *seen, int64_t now_us);
// Whether an HTTP status of the health path means healthy: 200 to 399, as Kubernetes judges.
bool probe_status_ok(long http_status);

#endif

// The verdict on one replica; the contract is in probe_judge.h.
#include "probe_judge.h"

#include <inttypes.h>
#include <stdio.h>

#define UNHEALTHY ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_UNHEALTHY
#define HEALTHY ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_HEALTHY

void probe_state_init(probe_state *s, Ecolink__V1__HealthState state, const char *reason, int64_t since_us) {
  *s = (probe_state){.state = state, .since_us = since_us};
  (void)snprintf(s->reason, sizeof s->reason, "%s", reason);
}

bool probe_status_ok(long http_status) {
  return http_status >= 200 && http_status < 400;
}

static bool change(probe_state *s, Ecolink__V1__HealthState state, int64_t now_us) {
  bool changed = s->state != state;
  s->state = state;
  if (changed) {
    s->since_us = now_us;
  }
  return changed;
}

static bool window_over(const probe_rules *rules, int64_t since_us, int64_t now_us) {
  return now_us - since_us > rules->passive_window_us;
}

static bool on_success(const probe_rules *rules, probe_state *s, int64_t now_us) {
  s->failures = 0;
  if (s->successes < rules->healthy_after) {
    s->successes++;
  }
  bool was_judged = s->state != ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_UNSPECIFIED;
  bool enough = !was_judged || s->successes >= rules->healthy_after;
  bool quiet = s->passive_last_us == 0 || window_over(rules, s->passive_last_us, now_us);
  if (s->state == HEALTHY || !enough || (s->state == UNHEALTHY && !quiet)) {
    return false;
  }
  (void)snprintf(s->reason, sizeof s->reason, "health path answers");
  return change(s, HEALTHY, now_us);
}

static bool on_failure(const probe_rules *rules, probe_state *s, const char *reason, int64_t now_us) {
  s->successes = 0;
  if (s->failures < rules->unhealthy_after) {
    s->failures++;
  }
  if (s->state == UNHEALTHY || s->failures < rules->unhealthy_after) {
    return false;
  }
  (void)snprintf(s->reason, sizeof s->reason, "%s", reason);
  return change(s, UNHEALTHY, now_us);
}

static bool on_report(const probe_rules *rules, probe_state *s, const probe_observation *seen, int64_t now_us) {
  bool none = s->passive_failures == 0 && s->passive_successes == 0;
  if (none || window_over(rules, s->passive_since_us, now_us)) {
    s->passive_failures = 0;
    s->passive_successes = 0;
    s->passive_since_us = now_us;
  }
  s->passive_failures += seen->failures;
  s->passive_successes += seen->successes;
  if (seen->failures == 0) {
    return false;
  }
  s->passive_last_us = now_us;
  char reason[HEALTH_REASON_MAX];
  (void)snprintf(reason, sizeof reason, "gateways saw %" PRId64 " of %" PRId64 " requests fail (%s)",
                 s->passive_failures, s->passive_failures + s->passive_successes, seen->reason);
  if (s->passive_failures >= HEALTH_PASSIVE_LEAST &&
      s->passive_failures / HEALTH_PASSIVE_SHARE >= s->passive_successes && s->state != UNHEALTHY) {
    s->successes = 0;
    (void)snprintf(s->reason, sizeof s->reason, "%s", reason);
    return change(s, UNHEALTHY, now_us);
  }
  return seen->successes == 0 ? on_failure(rules, s, reason, now_us) : false;
}

bool probe_judge(const probe_rules *rules, probe_state *s, const probe_observation *seen, int64_t now_us) {
  switch (seen->kind) {
    case PROBE_OK:
      return on_success(rules, s, now_us);
    case PROBE_FAILED:
      return on_failure(rules, s, seen->reason, now_us);
    case PROBE_REPORTED:
      return on_report(rules, s, seen, now_us);
  }
  return false;
}

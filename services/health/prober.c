// The prober's thread; the contract is in prober.h.
//
// One pass: targets from the database -> reports and probes -> verdicts -> one transaction of changes -> bucket
// `health`.
#include "prober.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"
#include "ecolink/pace.h"
#include "probe_client.h"
#include "probe_judge.h"
#include "store.h"

#define LEASE_PROBER "prober"
#define BUCKET_HEALTH "health"

// What the thread remembers of a target between passes.
typedef struct memory {
  char *id;
  char *run_id;
  probe_state state;
  int64_t seen_failures;  // of the target's sums of reports
  int64_t seen_successes;
} memory;

struct prober {
  eco_service *svc;
  const prober_settings *settings;
  probe_rules rules;
  probe_client *client;
  pthread_t thread;
  eco_pace pace;
  memory *known;  // by ascending id, as the database lists targets
  size_t n_known;
  char **regions;  // told of in the last pass
  size_t n_regions;
  bool bus_failed;
  eco_metric *passes, *probes, *failures, *unhealthy;
};

static bool is_stopping(void *arg) {
  prober *p = arg;
  return eco_pace_ended(&p->pace);
}

static void forget(memory *known, size_t n) {
  for (size_t i = 0; i < n; i++) {
    free(known[i].id);
    free(known[i].run_id);
  }
  free(known);
}

static void remember(memory *m, const health_target *t) {
  *m = (memory){.id = strdup(t->id),
                .run_id = strdup(t->run_id),
                .seen_failures = t->passive_failures,
                .seen_successes = t->passive_successes};
  if (m->id == NULL || m->run_id == NULL) {
    abort();  // no memory for a few bytes: nothing else would work either
  }
  probe_state_init(&m->state, t->state, t->reason, t->since_us);
}

// A target goes on being remembered while it is the same run with the verdict that the database knows.
static bool goes_on(const memory *m, const health_target *t) {
  return strcmp(m->id, t->id) == 0 && strcmp(m->run_id, t->run_id) == 0 && m->state.state == t->state;
}

// Makes `known` parallel to the targets. Both are sorted by id.
static void sync_known(prober *p, const health_target *targets, size_t n) {
  memory *fresh = calloc(n + 1, sizeof *fresh);
  if (fresh == NULL) {
    abort();
  }
  size_t k = 0;
  for (size_t i = 0; i < n; i++) {
    while (k < p->n_known && strcmp(p->known[k].id, targets[i].id) < 0) {
      k++;
    }
    if (k < p->n_known && goes_on(&p->known[k], &targets[i])) {
      fresh[i] = p->known[k];
      p->known[k].id = NULL;
      p->known[k].run_id = NULL;
      k++;
      // `k` may pass its id only once: ids are unique
    } else {
      remember(&fresh[i], &targets[i]);
    }
  }
  // Freed entries were moved out: free(NULL) is fine.
  forget(p->known, p->n_known);
  p->known = fresh;
  p->n_known = n;
}

static bool judge_report(prober *p, memory *m, const health_target *t, int64_t now_us) {
  const probe_observation seen = {.kind = PROBE_REPORTED,
                                  .reason = t->passive_kind,
                                  .failures = t->passive_failures - m->seen_failures,
                                  .successes = t->passive_successes - m->seen_successes};
  m->seen_failures = t->passive_failures;
  m->seen_successes = t->passive_successes;
  return (seen.failures > 0 || seen.successes > 0) && probe_judge(&p->rules, &m->state, &seen, now_us);
}

// Probes and judges all; changed[i] tells whose verdict changed. False when the service stops meanwhile.
static bool probe_all(prober *p, eco_ctx *ctx, const health_target *targets, size_t n, bool *changed) {
  probe_target *asked = eco_alloc_array(ctx->arena, n + 1, sizeof *asked);
  probe_result *results = eco_alloc_array(ctx->arena, n + 1, sizeof *results);
  for (size_t i = 0; i < n; i++) {
    asked[i] = (probe_target){targets[i].host, targets[i].port, targets[i].health_path, targets[i].token};
  }
  if (!probe_client_run(p->client, asked, results, n, is_stopping, p)) {
    return false;
  }
  ECO_CRASH_POINT("health.probes.answered");
  int64_t failed = 0;
  for (size_t i = 0; i < n; i++) {
    Ecolink__V1__HealthState before = p->known[i].state.state;
    const probe_observation seen = {.kind = results[i].ok ? PROBE_OK : PROBE_FAILED, .reason = results[i].reason};
    judge_report(p, &p->known[i], &targets[i], ctx->now_us);
    probe_judge(&p->rules, &p->known[i].state, &seen, ctx->now_us);
    changed[i] = p->known[i].state.state != before;
    failed += results[i].ok ? 0 : 1;
  }
  eco_metric_add(p->probes, (int64_t)n);
  eco_metric_add(p->failures, failed);
  return true;
}

static health_target verdict_of(const health_target *target, const memory *m) {
  health_target t = *target;
  t.state = m->state.state;
  t.reason = m->state.reason;
  t.since_us = m->state.since_us;
  return t;
}

static eco_status record_change(eco_ctx *ctx, eco_tx *tx, const health_target *verdict) {
  int64_t version = 0;
  ECO_TRY(health_target_judge(tx, verdict, &version));
  if (version == 0) {
    return eco_success();  // stopped or restarted while it was probed: the verdict is about nobody
  }
  ECO_TRY(health_change_insert(tx, verdict));
  eco_log(
      ECO_LOG_INFO, "replica health changed", ECO_F_STR("replica", verdict->id), ECO_F_STR("region", verdict->region),
      ECO_F_STR("state", verdict->state == ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_HEALTHY ? "healthy" : "unhealthy"),
      ECO_F_STR("reason", verdict->reason));
  return eco_event_publish(ctx, tx, "replica.health_changed", verdict->id, version,
                           &health_message(ctx->arena, verdict)->base);
}

// The regions of the targets, and those of the last pass that have none any more: these get one last, empty entry.
static Ecolink__V1__RegionHealth **summarise(prober *p, eco_ctx *ctx, const health_target *targets, size_t n,
                                             size_t *n_regions) {
  Ecolink__V1__RegionHealth **regions = eco_alloc_array(ctx->arena, n + p->n_regions + 1, sizeof *regions);
  size_t count = 0;
  for (size_t i = 0; i < n + p->n_regions; i++) {
    const char *name = i < n ? targets[i].region : p->regions[i - n];
    size_t r = 0;
    while (r < count && strcmp(regions[r]->region, name) != 0) {
      r++;
    }
    if (r == count) {
      regions[count] = eco_alloc(ctx->arena, sizeof **regions);
      ecolink__v1__region_health__init(regions[count]);
      regions[count]->region = eco_strdup(ctx->arena, name);
      regions[count]->observed_at_us = eco_wall_us();
      regions[count]->interval_ms = (int32_t)p->settings->interval_ms;
      regions[count]->unhealthy = eco_alloc_array(ctx->arena, n + 1, sizeof(Ecolink__V1__ReplicaHealth *));
      count++;
    }
    if (i < n) {
      regions[r]->probed++;
      if (p->known[i].state.state == ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_UNHEALTHY) {
        const health_target verdict = verdict_of(&targets[i], &p->known[i]);
        regions[r]->unhealthy[regions[r]->n_unhealthy++] = health_message(ctx->arena, &verdict);
      }
    }
  }
  *n_regions = count;
  return regions;
}

static eco_status record(eco_ctx *ctx, int64_t epoch, const prober *p, const health_target *targets, size_t n,
                         const bool *changed, Ecolink__V1__RegionHealth *const *regions, size_t n_regions) {
  eco_tx *tx = NULL;
  eco_status st;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  ECO_TRY_GOTO(eco_lease_check(tx, LEASE_PROBER, epoch));
  for (size_t i = 0; i < n; i++) {
    if (changed[i]) {
      const health_target verdict = verdict_of(&targets[i], &p->known[i]);
      ECO_TRY_GOTO(record_change(ctx, tx, &verdict));
    }
  }
  for (size_t i = 0; i < n_regions; i++) {
    ECO_TRY_GOTO(health_region_put(tx, regions[i]->region, regions[i]->observed_at_us, regions[i]->probed));
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("health.pass.committed");
  return eco_success();
cleanup:
  eco_tx_rollback(tx);
  return st;
}

static void keep_regions(prober *p, Ecolink__V1__RegionHealth *const *regions, size_t n) {
  for (size_t i = 0; i < p->n_regions; i++) {
    free(p->regions[i]);
  }
  free(p->regions);
  p->n_regions = 0;
  p->regions = calloc(n + 1, sizeof *p->regions);
  if (p->regions == NULL) {
    abort();
  }
  for (size_t i = 0; i < n; i++) {
    if (regions[i]->probed > 0) {
      p->regions[p->n_regions] = strdup(regions[i]->region);
      p->n_regions += p->regions[p->n_regions] != NULL ? 1 : 0;
    }
  }
}

static eco_status tell(prober *p, Ecolink__V1__RegionHealth *const *regions, size_t n) {
  int64_t unhealthy = 0;
  for (size_t i = 0; i < n; i++) {
    unhealthy += (int64_t)regions[i]->n_unhealthy;
    ECO_TRY(eco_kv_put(p->svc, BUCKET_HEALTH, regions[i]->region, &regions[i]->base));
    ECO_CRASH_POINT("health.region.told");
  }
  eco_metric_set(p->unhealthy, unhealthy);
  return eco_success();
}

static eco_status load_targets(eco_ctx *ctx, health_target **targets, size_t *n) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = health_target_probed(tx, ctx->arena, targets, n);
  eco_tx_rollback(tx);
  return st;
}

static eco_status pass(prober *p, eco_ctx *ctx, int64_t epoch) {
  health_target *targets = NULL;
  size_t n = 0;
  ECO_TRY(load_targets(ctx, &targets, &n));
  sync_known(p, targets, n);
  bool *changed = eco_alloc_array(ctx->arena, n + 1, sizeof *changed);
  if (!probe_all(p, ctx, targets, n, changed)) {
    return eco_success();
  }
  size_t n_regions = 0;
  Ecolink__V1__RegionHealth **regions = summarise(p, ctx, targets, n, &n_regions);
  ECO_TRY(record(ctx, epoch, p, targets, n, changed, regions, n_regions));
  keep_regions(p, regions, n_regions);
  eco_metric_add(p->passes, 1);
  if (!eco_lease_held(p->svc, LEASE_PROBER, NULL)) {
    return eco_success();
  }
  return tell(p, regions, n_regions);
}

// Logs the first failure of a row and its end, not each pass.
static void report_pass(prober *p, eco_status st) {
  if (!eco_ok(st) && !p->bus_failed) {
    eco_log(ECO_LOG_WARN, "a pass of probes failed: verdicts expire until one succeeds", ECO_F_STATUS(st));
  } else if (eco_ok(st) && p->bus_failed) {
    eco_log(ECO_LOG_INFO, "probes pass again");
  }
  p->bus_failed = !eco_ok(st);
}

static void *prober_main(void *arg) {
  prober *p = arg;
  int64_t left_ms = 0;
  while (eco_pace_wait(&p->pace, left_ms)) {
    int64_t started_ms = eco_boottime_ms();
    int64_t epoch = 0;
    if (eco_lease_held(p->svc, LEASE_PROBER, &epoch)) {
      eco_ctx *ctx = eco_ctx_new(p->svc);
      report_pass(p, pass(p, ctx, epoch));
      eco_ctx_free(ctx);
    } else {
      // Somebody else probes: what this thread remembers grows old.
      forget(p->known, p->n_known);
      p->known = NULL;
      p->n_known = 0;
    }
    left_ms = started_ms + p->settings->interval_ms - eco_boottime_ms();
  }
  return NULL;
}

static void prober_free(prober *p) {
  forget(p->known, p->n_known);
  for (size_t i = 0; i < p->n_regions; i++) {
    free(p->regions[i]);
  }
  free(p->regions);
  probe_client_free(p->client);
  eco_pace_free(&p->pace);
  free(p);
}

eco_status prober_start(eco_service *svc, const prober_settings *settings, prober **out) {
  prober *p = calloc(1, sizeof *p);
  if (p == NULL) {
    return eco_error(ECO_INTERNAL, "no memory for the prober");
  }
  p->svc = svc;
  p->settings = settings;
  p->rules = (probe_rules){.unhealthy_after = (int)settings->unhealthy_after,
                           .healthy_after = (int)settings->healthy_after,
                           .passive_window_us = settings->interval_ms * HEALTH_PASSIVE_INTERVALS * 1000};
  p->passes = eco_counter("ecolink_health_passes_total", "Passes of probes", NULL);
  p->probes = eco_counter("ecolink_health_probes_total", "Probes sent", NULL);
  p->failures = eco_counter("ecolink_health_probe_failures_total", "Probes that failed", NULL);
  p->unhealthy = eco_gauge("ecolink_health_unhealthy_replicas", "Replicas judged unhealthy", NULL);
  eco_pace_init(&p->pace);
  eco_status st = probe_client_new((int)settings->concurrency, (long)settings->timeout_ms, &p->client);
  if (eco_ok(st) && pthread_create(&p->thread, NULL, prober_main, p) != 0) {
    st = eco_error(ECO_INTERNAL, "no thread for the prober");
  }
  if (!eco_ok(st)) {
    prober_free(p);
    return st;
  }
  *out = p;
  return eco_success();
}

void prober_stop(prober *p) {
  if (p == NULL) {
    return;
  }
  eco_pace_end(&p->pace);
  pthread_join(p->thread, NULL);
  prober_free(p);
}

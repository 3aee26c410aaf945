// Loop-local replica state; see replica.h.
#include "replica.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/log.h"
#include "huge.h"
#include "loop.h"
#include "snapshot_shard.h"
#include "upstream.h"

enum { EJECT_AFTER = 3, EJECT_REGION_AFTER = 6, REACHED_MS = 10000, FORGET_MS = 60000 };

const char *gw_failure_word(gw_failure kind) {
  static const char *const WORDS[] = {"connect", "reset", "timeout", "garbage", "status_5xx"};
  return WORDS[kind];
}

static gw_region_state *region_get(gw_replicas *all, const char *name) {
  gw_region_state *s = all->regions;
  while (s && strcmp(s->name, name) != 0) {
    s = s->next;
  }
  if (!s) {
    s = calloc(1, sizeof *s);
    if (!s) {
      abort();
    }
    snprintf(s->name, sizeof s->name, "%s", name);
    s->next = all->regions;
    all->regions = s;
  }
  return s;
}

static void set_address(gw_replicas *all, gw_replica *r, const gw_route_replica *at) {
  free((char *)r->at.token);
  r->at = *at;
  r->at.token = strdup(at->token);
  if (!r->at.token) {
    abort();
  }
  r->region = region_get(all, at->region);
}

// Whether what is remembered of a replica (latency, failures, open connections) still holds.
static bool same_run(const gw_route_replica *was, const gw_route_replica *is) {
  // Addresses are zeroed before they are set, so bytes may be compared.
  // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c)
  bool same_address = memcmp(&was->addr, &is->addr, sizeof was->addr) == 0 && strcmp(was->host, is->host) == 0;
  return same_address && was->run == is->run && strcmp(was->token, is->token) == 0;
}

gw_replica *gw_replica_get(gw_loop *loop, const gw_route *route, unsigned i) {
  gw_replicas *all = &loop->replicas;
  const gw_route_replica *at = &route->replicas[i];
  int64_t instance_id = route->instance_id;
  size_t bucket = gw_mix64((uint64_t)instance_id * 64 + (uint64_t)at->id) % GW_REPLICA_BUCKETS;
  gw_replica *r = all->buckets[bucket];
  while (r && (r->instance_id != instance_id || r->id != at->id)) {
    r = r->next;
  }
  if (!r) {
    r = gw_huge_alloc(sizeof *r);
    r->instance_id = instance_id;
    r->id = at->id;
    set_address(all, r, at);
    r->next = all->buckets[bucket];
    all->buckets[bucket] = r;
    all->n++;
  } else if (r->route_serial != route->serial && !same_run(&r->at, at)) {
    gw_upstreams_close_idle(r);
    set_address(all, r, at);
    memset(r->latency, 0, sizeof r->latency);
    gw_outlier_succeeded(&r->outlier);
  }
  r->route_serial = route->serial;
  r->last_used_ms = gw_loop_now(loop);
  return r;
}

void gw_replica_begin(gw_replica *r) {
  r->outstanding++;
}

void gw_replica_end(gw_replica *r) {
  assert(r->outstanding > 0);
  r->outstanding--;
}

void gw_replica_succeeded(gw_loop *loop, gw_replica *r, unsigned endpoint_class, double latency_us) {
  uint64_t now = gw_loop_now(loop);
  gw_ewma_add(&r->latency[endpoint_class], latency_us, now);
  gw_outlier_succeeded(&r->outlier);
  gw_outlier_succeeded(&r->region->outlier);
  r->last_success_ms = now;
  r->successes++;
}

void gw_replica_failed(gw_loop *loop, gw_replica *r, unsigned endpoint_class, gw_failure kind, double timeout_us) {
  uint64_t now = gw_loop_now(loop);
  gw_ewma *latency = &r->latency[endpoint_class];
  gw_ewma_add(latency, latency->value_us > timeout_us ? latency->value_us : timeout_us, now);
  r->failures[kind]++;
  gw_metrics_add(&loop->metrics->failures[kind], 1);
  if (gw_outlier_failed(&r->outlier, EJECT_AFTER, now)) {
    gw_metrics_add(&loop->metrics->ejections, 1);
    eco_log(ECO_LOG_WARN, "replica ejected for a while", ECO_F_I64("instance", r->instance_id),
            ECO_F_I64("replica", r->id), ECO_F_STR("region", r->at.region), ECO_F_STR("kind", gw_failure_word(kind)));
  }
  gw_region_state *s = r->region;
  if (kind == GW_FAIL_CONNECT && (s->last_instance != r->instance_id || s->last_replica != r->id)) {
    s->last_instance = r->instance_id;
    s->last_replica = r->id;
    if (gw_outlier_failed(&s->outlier, EJECT_REGION_AFTER, now)) {
      eco_log(ECO_LOG_WARN, "region ejected for a while", ECO_F_STR("region", s->name));
    }
  }
}

gw_candidate gw_replica_candidate(gw_loop *loop, gw_replica *r, unsigned endpoint_class, bool condemned) {
  uint64_t now = gw_loop_now(loop);
  return (gw_candidate){
      .condemned = condemned,
      .reached = r->last_success_ms && now - r->last_success_ms < REACHED_MS,
      .ejected = gw_outlier_ejected(&r->outlier, now) || gw_outlier_ejected(&r->region->outlier, now),
      .outstanding = r->outstanding,
      .latency_us = gw_ewma_read(&r->latency[endpoint_class], now),
  };
}

static void report(gw_loop *loop, gw_replica *r) {
  for (unsigned k = 0; k < GW_FAILURES; k++) {
    if (r->failures[k] == 0) {
      continue;
    }
    gw_failure_report *f = calloc(1, sizeof *f);
    if (!f) {
      abort();
    }
    f->instance_id = r->instance_id;
    f->replica_id = r->id;
    f->kind = (gw_failure)k;
    f->count = (int32_t)r->failures[k];
    f->successes = (int32_t)r->successes;
    snprintf(f->region, sizeof f->region, "%s", r->at.region);
    r->failures[k] = 0;
    pthread_mutex_lock(&loop->shared.lock);
    f->next = loop->shared.reports;
    loop->shared.reports = f;
    pthread_mutex_unlock(&loop->shared.lock);
  }
  r->successes = 0;
}

static void replica_free(gw_replica *r) {
  free((char *)r->at.token);
  gw_huge_free(r, sizeof *r);
}

void gw_replicas_sweep(gw_loop *loop) {
  uint64_t now = gw_loop_now(loop);
  for (size_t i = 0; i < GW_REPLICA_BUCKETS; i++) {
    for (gw_replica **at = &loop->replicas.buckets[i]; *at;) {
      gw_replica *r = *at;
      report(loop, r);
      assert(loop->busy || r->outstanding == 0);  // what begins an attempt ends it
      gw_upstreams_expire_idle(r, now);
      if (r->outstanding == 0 && r->n_idle == 0 && now - r->last_used_ms > FORGET_MS) {
        *at = r->next;
        loop->replicas.n--;
        replica_free(r);
      } else {
        at = &r->next;
      }
    }
  }
}

void gw_replicas_free(gw_loop *loop) {
  for (size_t i = 0; i < GW_REPLICA_BUCKETS; i++) {
    while (loop->replicas.buckets[i]) {
      gw_replica *r = loop->replicas.buckets[i];
      loop->replicas.buckets[i] = r->next;
      replica_free(r);
    }
  }
  while (loop->replicas.regions) {
    gw_region_state *s = loop->replicas.regions;
    loop->replicas.regions = s->next;
    free(s);
  }
}

void gw_failure_reports_free(gw_failure_report *list) {
  while (list) {
    gw_failure_report *next = list->next;
    free(list);
    list = next;
  }
}

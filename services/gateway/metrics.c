// Counting, and adding up for /metrics; see metrics.h.
#include "metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/metrics.h"

enum { US_PER_S = 1000000, NS_PER_US = 1000 };
// One list of bounds, twice: what loops compare with, and what Prometheus reads (ends with 0).
static const uint64_t BOUNDS_US[GW_METRIC_BOUNDS] = {250,     500,     1000,     2500,     5000,     10000,
                                                     20000,   50000,   100000,   200000,   500000,   1000000,
                                                     2500000, 5000000, 10000000, 30000000, 60000000, 300000000};
static double bounds_s[GW_METRIC_BOUNDS + 1];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static gw_metrics *all;  // grows only; guarded by `lock`
static _Atomic int64_t confirmed_ms;

static eco_metric *snapshot_keys;
static eco_metric *snapshot_routes;
static eco_metric *spool_bytes;
static eco_metric *usage_dropped;

void gw_metrics_observe(gw_histogram *h, uint64_t ns) {
  const uint64_t us = ns / NS_PER_US;
  unsigned i = 0;
  while (i < GW_METRIC_BOUNDS && us > BOUNDS_US[i]) {
    i++;
  }
  gw_metrics_add(&h->buckets[i], 1);
  gw_metrics_add(&h->sum_us, (int64_t)us);
}

void gw_metrics_answer(gw_metrics *m, int status, uint64_t ns) {
  const bool known = status >= GW_STATUS_MIN && status < GW_STATUS_END;
  gw_metrics_add(known ? &m->answers[status - GW_STATUS_MIN] : &m->unanswered, 1);
  gw_metrics_observe(&m->request, ns);
}

gw_metrics *gw_metrics_new(void) {
  gw_metrics *m = aligned_alloc(64, (sizeof *m + 63) / 64 * 64);
  if (!m) {
    abort();
  }
  memset(m, 0, sizeof *m);
  (void)pthread_mutex_lock(&lock);
  m->next = all;
  all = m;
  (void)pthread_mutex_unlock(&lock);
  return m;
}

void gw_metrics_snapshot(size_t keys, size_t routes) {
  eco_metric_set(snapshot_keys, (int64_t)keys);
  eco_metric_set(snapshot_routes, (int64_t)routes);
}

void gw_metrics_spool(int64_t bytes, int64_t dropped) {
  eco_metric_set(spool_bytes, bytes);
  eco_metric_set(usage_dropped, dropped);
}

void gw_metrics_confirmed(int64_t boottime_ms) {
  atomic_store_explicit(&confirmed_ms, boottime_ms, memory_order_relaxed);
}

// ---- adding up: the admin thread, before each answer ----

// The sum over all loops of the counter at this place in a gw_metrics.
static uint64_t sum(size_t offset) {
  uint64_t total = 0;
  for (const gw_metrics *m = all; m; m = m->next) {
    total +=
        atomic_load_explicit((const _Atomic uint64_t *)(const void *)((const char *)m + offset), memory_order_relaxed);
  }
  return total;
}

typedef struct row {
  const char *name;
  const char *help;
  size_t offset;
  bool gauge;
} row;
#define AT(field) offsetof(gw_metrics, field)
static const row ROWS[] = {
    {"ecolink_gateway_prompt_tokens_total", "Prompt tokens by the engines' usage", AT(prompt_tokens), false},
    {"ecolink_gateway_completion_tokens_total", "Completion tokens by the engines' usage", AT(completion_tokens),
     false},
    {"ecolink_gateway_ejections_total", "Replicas ejected after failures in a row", AT(ejections), false},
    {"ecolink_gateway_retries_total", "Attempts after the first", AT(retries), false},
    {"ecolink_gateway_upstream_connects_total", "Connections opened to replicas", AT(connects), false},
    {"ecolink_gateway_upstream_reuses_total", "Attempts on a connection that was kept", AT(reuses), false},
    {"ecolink_gateway_client_connections", "Open client connections", AT(clients), true},
    {"ecolink_gateway_requests_in_flight", "Requests being answered", AT(in_flight), true},
    {"ecolink_gateway_open_streams", "Event streams open", AT(streams), true},
    {"ecolink_gateway_upstream_connections_idle", "Connections kept for the next request", AT(upstreams_idle), true},
    {"ecolink_gateway_held_bytes", "Request bodies in memory, against HELD_MAX per loop", AT(held_bytes), true},
    {"ecolink_gateway_pool_blocks_used", "16 KB blocks in use; one of 64 KB counts four", AT(blocks_used), true},
    {"ecolink_gateway_pool_blocks_free", "16 KB blocks kept for reuse; one of 64 KB counts four", AT(blocks_free),
     true},
};
typedef struct histogram_row {
  const char *name;
  const char *help;
  size_t offset;
} histogram_row;
static const histogram_row HISTOGRAMS[] = {
    {"ecolink_gateway_request_seconds", "From request head to the answer's last byte", AT(request)},
    {"ecolink_gateway_first_byte_seconds", "From request sent to the answer's head", AT(first_byte)},
    {"ecolink_gateway_first_content_seconds", "From request head to the first content passed on", AT(first_content)},
    {"ecolink_gateway_event_gap_seconds", "Between two events of a stream, as they came", AT(event_gap)},
};
enum { N_ROWS = sizeof ROWS / sizeof ROWS[0], N_HISTOGRAMS = sizeof HISTOGRAMS / sizeof HISTOGRAMS[0] };

// A labelled counter appears with its first count: 500 statuses that never occur would only be noise.
static void labelled(const char *name, const char *help, const char *label, const char *value, uint64_t n) {
  char labels[96];
  if (n == 0) {
    return;
  }
  (void)snprintf(labels, sizeof labels, "%s=\"%s\"", label, value);
  eco_metric_set(eco_counter(name, help, labels), (int64_t)n);
}

static void add_up_labelled(void) {
  char digits[12];
  for (int status = GW_STATUS_MIN; status < GW_STATUS_END; status++) {
    (void)snprintf(digits, sizeof digits, "%d", status);
    labelled("ecolink_gateway_requests_total", "Answers by status; 499: the client left first", "status", digits,
             sum(AT(answers) + (size_t)(status - GW_STATUS_MIN) * sizeof(uint64_t)));
  }
  labelled("ecolink_gateway_requests_total", "", "status", "none", sum(AT(unanswered)));
  for (int code = ECO_OK + 1; code < ECO_CODE_COUNT; code++) {
    labelled("ecolink_gateway_errors_total", "Errors of the gateway itself, by code", "code",
             eco_code_word((eco_code)code), sum(AT(errors) + (size_t)code * sizeof(uint64_t)));
  }
}

static void add_up(void *arg) {
  (void)arg;
  (void)pthread_mutex_lock(&lock);
  for (size_t i = 0; i < N_ROWS; i++) {
    const row *r = &ROWS[i];
    eco_metric_set(r->gauge ? eco_gauge(r->name, r->help, NULL) : eco_counter(r->name, r->help, NULL),
                   (int64_t)sum(r->offset));
  }
  for (size_t i = 0; i < N_HISTOGRAMS; i++) {
    int64_t counts[GW_METRIC_BOUNDS + 1];
    for (size_t k = 0; k <= GW_METRIC_BOUNDS; k++) {
      counts[k] = (int64_t)sum(HISTOGRAMS[i].offset + offsetof(gw_histogram, buckets) + k * sizeof(uint64_t));
    }
    eco_metric_set_histogram(eco_histogram(HISTOGRAMS[i].name, HISTOGRAMS[i].help, NULL, bounds_s), counts,
                             (double)sum(HISTOGRAMS[i].offset + offsetof(gw_histogram, sum_us)) / US_PER_S);
  }
  for (int kind = 0; kind < GW_FAILURES; kind++) {
    char labels[64];
    (void)snprintf(labels, sizeof labels, "kind=\"%s\"", gw_failure_word((gw_failure)kind));
    eco_metric_set(eco_counter("ecolink_gateway_upstream_failures_total", "Failed attempts", labels),
                   (int64_t)sum(AT(failures) + (size_t)kind * sizeof(uint64_t)));
  }
  add_up_labelled();
  (void)pthread_mutex_unlock(&lock);
  eco_metric_set(eco_gauge("ecolink_gateway_snapshot_age_ms", "Since the bus last confirmed the snapshot", NULL),
                 eco_boottime_ms() - atomic_load_explicit(&confirmed_ms, memory_order_relaxed));
}

void gw_metrics_init(void) {
  for (size_t i = 0; i < GW_METRIC_BOUNDS; i++) {
    bounds_s[i] = (double)BOUNDS_US[i] / US_PER_S;
  }
  snapshot_keys = eco_gauge("ecolink_gateway_snapshot_keys", "Keys in memory", NULL);
  snapshot_routes = eco_gauge("ecolink_gateway_snapshot_routes", "Routes in memory", NULL);
  spool_bytes = eco_gauge("ecolink_gateway_spool_bytes", "Usage not yet taken by the bus", NULL);
  usage_dropped =
      eco_counter("ecolink_gateway_usage_dropped_total", "Usage records lost to a full ring or spool", NULL);
  gw_metrics_confirmed(eco_boottime_ms());
  eco_metrics_before_write(add_up, NULL);
}

// Periodic work: one thread per row of the service's timer table; runs never overlap.
#include <stdlib.h>

#include "ecolink/log.h"
#include "ecolink/metrics.h"
#include "kit.h"

struct kit_timer {
  eco_service *svc;
  const eco_timer_def *def;
  pthread_t thread;
  eco_metric *failures;
  kit_timer *next;
};

enum { TIMER_STANDBY_MS = 1000 };  // how soon work goes on after its leader died, however seldom it is due

// How long to wait for the next run.
static int64_t pause_of(const kit_timer *t, bool led) {
  return led || t->def->interval_ms < TIMER_STANDBY_MS ? t->def->interval_ms : TIMER_STANDBY_MS;
}

static void *timer_main(void *arg) {
  kit_timer *t = arg;
  bool led;
  do {
    led = t->def->lease == NULL || eco_lease_held(t->svc, t->def->lease, NULL);
    if (!led) {
      continue;
    }
    eco_ctx *ctx = eco_ctx_new(t->svc);
    eco_status st = t->def->fn(ctx);
    eco_ctx_free(ctx);
    if (!eco_ok(st)) {
      eco_metric_add(t->failures, 1);
      eco_log(ECO_LOG_WARN, "timer failed: next run as planned", ECO_F_STR("timer", t->def->name), ECO_F_STATUS(st));
    }
  } while (!kit_sleep(t->svc, pause_of(t, led)));
  nats_ReleaseThreadMemory();
  return NULL;
}

eco_status kit_timers_start(eco_service *svc) {
  for (const eco_timer_def *def = svc->def->timers; def != NULL && def->name != NULL; def++) {
    kit_timer *t = calloc(1, sizeof *t);
    if (t == NULL) {
      return eco_error(ECO_INTERNAL, "timers: out of memory");
    }
    *t = (kit_timer){.svc = svc, .def = def, .next = svc->timers};
    t->failures = eco_counter("ecolink_timer_failures_total", "Failed runs of periodic work", NULL);
    svc->timers = t;
    kit_thread_start(&t->thread, timer_main, t, def->name);
  }
  return eco_success();
}

void kit_timers_stop(eco_service *svc) {
  while (svc->timers != NULL) {
    kit_timer *t = svc->timers;
    pthread_join(t->thread, NULL);
    svc->timers = t->next;
    free(t);
  }
}

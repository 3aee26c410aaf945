// The metering thread and its spool; see meter.h.
#include "meter.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "ecolink/bus.h"
#include "ecolink/crash.h"
#include "ecolink/id.h"
#include "ecolink/log.h"
#include "ecolink/pace.h"
#include "metrics.h"
#include "usage_spool.h"
#include "usage_sum.h"

enum { LAST_TRIES = 20 };  // at the end, of as many waits for the spool's lock

struct gw_meter {
  eco_service *svc;
  gw_loop **loops;
  size_t n_loops;
  char boot[ECO_ID_MAX];
  // metering thread
  gw_usage_sums *sums;
  gw_usage_record waiting;  // taken out of a ring, and not summed up yet
  bool waits;
  int64_t sequence;
  // appended to by the metering thread, taken from by the bus thread; never held while the bus is asked
  struct {
    pthread_mutex_t lock;
    gw_spool spool;
  } shared;
  eco_pace pace;
  pthread_t thread;
};

// False: the spool is busy; what was summed up stays so.
static bool append_batch(gw_meter *m) {
  if (m->sums->n == 0) {
    return true;
  }
  Ecolink__V1__UsageBatch batch = ECOLINK__V1__USAGE_BATCH__INIT;
  batch.gateway = (char *)eco_service_instance(m->svc);
  batch.boot = m->boot;
  batch.sequence = m->sequence + 1;
  gw_usage_sums_fill(m->sums, &batch);
  pthread_mutex_lock(&m->shared.lock);
  gw_spool_result result = gw_spool_append(&m->shared.spool, &batch);
  pthread_mutex_unlock(&m->shared.lock);
  if (result == GW_SPOOL_BUSY) {
    return false;
  }
  m->sequence++;
  if (result == GW_SPOOL_FULL) {
    eco_log(ECO_LOG_ERROR, "usage spool is full: records dropped", ECO_F_I64("records", batch.n_records));
  }
  ECO_CRASH_POINT("gateway.usage.spooled");
  gw_usage_sums_clear(m->sums);
  return true;
}

// Sums up the record that waits. False: the sums are full and the spool is busy.
static bool add_waiting(gw_meter *m) {
  if (m->waits && !gw_usage_sums_add(m->sums, &m->waiting)) {
    if (!append_batch(m)) {
      return false;
    }
    (void)gw_usage_sums_add(m->sums, &m->waiting);
  }
  m->waits = false;
  return true;
}

// False: some of it waits, here or in the rings, for a spool that is busy.
static bool collect(gw_meter *m) {
  for (size_t i = 0; i < m->n_loops; i++) {
    do {
      if (!add_waiting(m)) {
        return false;
      }
      m->waits = gw_usage_pop(m->loops[i]->usage, &m->waiting);
    } while (m->waits);
  }
  return append_batch(m);
}

static void collect_last(gw_meter *m) {
  int tries = 1;
  while (!collect(m) && tries < LAST_TRIES) {
    tries++;
  }
  if (tries == LAST_TRIES && m->sums->n > 0) {
    eco_log(ECO_LOG_ERROR, "usage spool: another process holds its lock; the last records are lost",
            ECO_F_I64("records", (int64_t)m->sums->n));
  }
}

static void *meter_main(void *arg) {
  gw_meter *m = arg;
  (void)pthread_setname_np(pthread_self(), "gw-meter");
  while (eco_pace_wait(&m->pace, GW_USAGE_FLUSH_MS)) {
    (void)collect(m);
  }
  collect_last(m);
  return NULL;
}

static Ecolink__V1__UsageBatch *next(gw_meter *m, int64_t *end) {
  pthread_mutex_lock(&m->shared.lock);
  Ecolink__V1__UsageBatch *batch = gw_spool_next(&m->shared.spool, end);
  pthread_mutex_unlock(&m->shared.lock);
  return batch;
}

static void taken(gw_meter *m, int64_t end) {
  pthread_mutex_lock(&m->shared.lock);
  gw_spool_ack(&m->shared.spool, end);
  pthread_mutex_unlock(&m->shared.lock);
}

void gw_meter_send(gw_meter *m) {
  int64_t end = 0;
  Ecolink__V1__UsageBatch *batch = NULL;
  while (eco_bus_connected(m->svc) && (batch = next(m, &end)) != NULL) {
    char id[192];
    snprintf(id, sizeof id, "%s-%s-%lld", batch->gateway, batch->boot, (long long)batch->sequence);
    eco_status st = eco_event_publish_direct(m->svc, "usage.recorded", id, batch->gateway, &batch->base);
    ecolink__v1__usage_batch__free_unpacked(batch, NULL);
    if (!eco_ok(st)) {
      eco_log(ECO_LOG_WARN, "usage stays in the spool", ECO_F_STATUS(st));
      return;
    }
    taken(m, end);
    ECO_CRASH_POINT("gateway.usage.taken");
  }
}

void gw_meter_tell(gw_meter *m) {
  pthread_mutex_lock(&m->shared.lock);
  int64_t pending = gw_spool_pending(&m->shared.spool);
  int64_t dropped = m->shared.spool.dropped;
  pthread_mutex_unlock(&m->shared.lock);
  for (size_t i = 0; i < m->n_loops; i++) {
    dropped += (int64_t)atomic_load(&m->loops[i]->usage->dropped);
  }
  gw_metrics_spool(pending, dropped);
}

eco_status gw_meter_start(eco_service *svc, gw_loop **loops, size_t n_loops, gw_meter **out) {
  gw_meter *m = calloc(1, sizeof *m);
  gw_usage_sums *sums = malloc(sizeof *sums);
  if (!m || !sums) {
    abort();
  }
  m->svc = svc;
  m->loops = loops;
  m->n_loops = n_loops;
  m->sums = sums;
  gw_usage_sums_init(sums);
  eco_id_new("b", m->boot);
  pthread_mutex_init(&m->shared.lock, NULL);
  eco_pace_init(&m->pace);
  eco_status st = gw_spool_open(&m->shared.spool, gw_cfg.spool_dir, gw_cfg.spool_max_bytes);
  int error = eco_ok(st) ? pthread_create(&m->thread, NULL, meter_main, m) : 0;
  st = error ? eco_error(ECO_INTERNAL, "cannot start the metering thread: %s", strerror(error)) : st;
  if (!eco_ok(st)) {
    gw_meter_free(m);
    return st;
  }
  *out = m;
  return eco_success();
}

void gw_meter_stop(gw_meter *m) {
  eco_pace_end(&m->pace);
  pthread_join(m->thread, NULL);
}

void gw_meter_free(gw_meter *m) {
  gw_spool_close(&m->shared.spool);
  pthread_mutex_destroy(&m->shared.lock);
  eco_pace_free(&m->pace);
  free(m->sums);
  free(m);
}

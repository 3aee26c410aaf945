// The regions' threads.
#include "regions.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app.h"
#include "ecolink/clock.h"
#include "ecolink/log.h"
#include "reconcile.h"
#include "store.h"

typedef struct region_thread {
  pthread_t thread;
  eco_service *svc;
  region_memory memory;  // woken: set under shared.lock
  struct region_thread *next;
} region_thread;

static struct {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool stopping;  // guarded by lock
  pthread_mutex_t list_lock;
  region_thread *first;  // changed under both locks, read under either
  bool closed;           // guarded by list_lock: drivers are being closed, none is told anything any more
} shared = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .list_lock = PTHREAD_MUTEX_INITIALIZER};

// Never takes list_lock: drivers call this from threads that are joined under it.
static void wake(const char *name) {
  pthread_mutex_lock(&shared.lock);
  for (region_thread *t = shared.first; t; t = t->next) {
    if (!name || strcmp(t->memory.name, name) == 0) {
      atomic_store(&t->memory.woken, true);
    }
  }
  pthread_cond_broadcast(&shared.wake);
  pthread_mutex_unlock(&shared.lock);
}

void regions_wake(void) {
  wake(NULL);
}

void regions_wake_one(const char *name) {
  wake(name);
}

// False: the process ends.
static bool wait_turn(region_thread *t) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);  // a clock that is set back must not stop the passes
  until.tv_sec += app.ready_interval_ms / 1000;
  until.tv_nsec += (app.ready_interval_ms % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  pthread_mutex_lock(&shared.lock);
  int timed_out = 0;
  while (!shared.stopping && !atomic_load(&t->memory.woken) && timed_out == 0) {
    timed_out = pthread_cond_clockwait(&shared.wake, &shared.lock, CLOCK_MONOTONIC, &until);
  }
  atomic_store(&t->memory.woken, false);
  bool go_on = !shared.stopping;
  pthread_mutex_unlock(&shared.lock);
  return go_on;
}

static void *run(void *arg) {
  region_thread *t = arg;
  char lease[SCHED_REGION_MAX + 16];
  snprintf(lease, sizeof(lease), "region:%s", t->memory.name);
  bool failing = false;
  while (wait_turn(t)) {
    int64_t epoch = 0;
    if (!eco_lease_held(t->svc, lease, &epoch)) {
      reconcile_forget(&t->memory);
      continue;
    }
    eco_ctx *ctx = eco_ctx_new(t->svc);
    eco_status st = reconcile_pass(ctx, &t->memory, epoch);
    eco_ctx_free(ctx);
    if (!eco_ok(st) && !failing) {
      eco_log(ECO_LOG_WARN, "region's pass failed: the next one goes on", ECO_F_STR("region", t->memory.name),
              ECO_F_STATUS(st));
    }
    failing = !eco_ok(st);
  }
  reconcile_forget(&t->memory);
  return NULL;
}

static bool is_running(const char *name) {
  for (const region_thread *t = shared.first; t; t = t->next) {
    if (strcmp(t->memory.name, name) == 0) {
      return true;
    }
  }
  return false;
}

static eco_status start_thread(eco_service *svc, const char *name, driver *d) {
  region_thread *t = calloc(1, sizeof(*t));
  if (!t) {
    return eco_error(ECO_INTERNAL, "out of memory");
  }
  t->svc = svc;
  t->memory.driver = d;
  snprintf(t->memory.name, sizeof(t->memory.name), "%s", name);
  if (pthread_create(&t->thread, NULL, run, t) != 0) {
    free(t);
    return eco_error(ECO_INTERNAL, "cannot start the thread of region %s", name);
  }
  pthread_mutex_lock(&shared.lock);
  t->next = shared.first;
  shared.first = t;
  pthread_mutex_unlock(&shared.lock);
  return eco_success();
}

// Tells the region's driver how to reach it. A region that cannot be configured keeps no other waiting.
static void configure(eco_ctx *ctx, const region_row *row) {
  static char told[SCHED_REGIONS_MAX][ECO_STATUS_MESSAGE_MAX];  // this timer's thread alone
  static size_t next;
  eco_status st = strcmp(row->driver, "kubernetes") == 0 ? app_open_kubernetes(ctx) : eco_success();
  driver *d = eco_ok(st) ? app_driver(row->driver) : NULL;
  if (d && d->ops->configure) {
    st = d->ops->configure(d, row->name, row->config, row->config_len);
  }
  if (eco_ok(st)) {
    return;
  }
  char message[ECO_STATUS_MESSAGE_MAX];
  snprintf(message, sizeof(message), "%s: %.300s", row->name, st.message);
  for (size_t i = 0; i < SCHED_REGIONS_MAX; i++) {
    if (strcmp(told[i], message) == 0) {
      return;
    }
  }
  snprintf(told[next++ % SCHED_REGIONS_MAX], ECO_STATUS_MESSAGE_MAX, "%s", message);
  eco_log(ECO_LOG_ERROR, "region cannot be reached as it is configured", ECO_F_STR("region", row->name),
          ECO_F_STATUS(st));
}

eco_status regions_refresh(eco_ctx *ctx) {
  ECO_TRY(app_seed(ctx));
  eco_tx *tx = NULL;
  region_row *list = NULL;
  size_t n = 0;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_region_list(tx, ctx->arena, "", SCHED_REGIONS_MAX, &list, &n);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  // Timers still run while the service stops: a driver that is opened or told of a region then would outlive its close.
  pthread_mutex_lock(&shared.list_lock);
  for (size_t i = 0; i < n && !shared.closed; i++) {
    configure(ctx, &list[i]);
  }
  app_configured();
  for (size_t i = 0; i < n && !shared.closed && eco_ok(st); i++) {
    driver *d = app_driver(list[i].driver);
    if (d && !is_running(list[i].name)) {
      st = start_thread(ctx->service, list[i].name, d);
    }
  }
  pthread_mutex_unlock(&shared.list_lock);
  return st;
}

void regions_stop(void) {
  pthread_mutex_lock(&shared.lock);
  shared.stopping = true;
  pthread_cond_broadcast(&shared.wake);
  pthread_mutex_unlock(&shared.lock);
  pthread_mutex_lock(&shared.list_lock);
  shared.closed = true;
  while (shared.first) {
    region_thread *t = shared.first;
    pthread_mutex_lock(&shared.lock);
    shared.first = t->next;
    pthread_mutex_unlock(&shared.lock);
    pthread_join(t->thread, NULL);
    free(t);
  }
  pthread_mutex_unlock(&shared.list_lock);
}

// The bus side; see bus.h.
#include "ecolink/bus.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus.h"
#include "config.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/id.h"
#include "ecolink/log.h"
#include "metrics.h"
#include "usage_spool.h"
#include "usage_sum.h"

enum { TICK_MS = GW_USAGE_FLUSH_MS, SAVE_MS = 10000, COALESCE = 512, EMPTY_READS = 4, BUCKETS = 3 };

typedef struct bucket {
  struct gw_bus *bus;
  eco_kv_reader *reader;
  _Atomic bool synced;
  uint64_t puts;
  unsigned reads;
  bool file_dropped;
  _Atomic bool whole;  // as its reader says; known to each thread without touching another's reader
  _Atomic int64_t synced_ms;
} bucket;

struct gw_bus {
  eco_service *svc;
  gw_store *store;
  gw_loop **loops;
  size_t n_loops;
  unsigned reader_index;
  _Atomic bool *known;
  bucket keys;
  bucket routes;
  bucket health;
  gw_spool spool;
  gw_usage_sums *sums;
  char boot[ECO_ID_MAX];
  int64_t sequence;
  uint64_t saved_changes;
  int64_t saved_ms;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool stopping;  // under lock
};

static bool both_synced(const gw_bus *bus) {
  return atomic_load(&bus->keys.synced) && atomic_load(&bus->routes.synced);
}

// Without a bus there is nothing newer to wait for: then what was known last is what counts.
static void judge_behind(gw_bus *bus) {
  bool whole = atomic_load(&bus->keys.whole) && atomic_load(&bus->routes.whole);
  bool coming = eco_bus_connected(bus->svc) || !atomic_load(bus->known);
  gw_store_set_behind(bus->store, coming && !whole);
}

static void look_whether_whole(bucket *b) {
  if (eco_kv_reader_is_whole(b->reader)) {
    atomic_store(&b->whole, true);
  }
}

// ---- buckets ----

// During a first read many entries come at once: they are published together.
static void changed(bucket *b) {
  b->puts++;
  if (atomic_load(&b->synced) || b->puts % COALESCE == 0) {
    gw_store_publish(b->bus->store);
  }
}

static void refused(const char *name, const char *key) {
  eco_log(ECO_LOG_ERROR, "bucket entry refused: malformed or beyond a limit", ECO_F_STR("bucket", name),
          ECO_F_STR("key", key));
}

static bool parse_hash(const char *hex, uint8_t out[32]) {
  if (strlen(hex) != ECO_SHA256_HEX_LEN) {
    return false;
  }
  for (size_t i = 0; i < 64; i++) {
    char c = hex[i];
    int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (v < 0) {
      return false;
    }
    out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | v : v << 4);
  }
  return true;
}

static void key_put(void *arg, const char *key, int64_t version, const uint8_t *value, size_t len) {
  (void)version;
  bucket *b = arg;
  uint8_t hash[32];
  Ecolink__V1__KeyEntry *e = ecolink__v1__key_entry__unpack(NULL, len, value);
  if (!e || !parse_hash(key, hash) || !gw_store_put_key(b->bus->store, hash, e, false)) {
    refused("keys", key);
  }
  ecolink__v1__key_entry__free_unpacked(e, NULL);
  changed(b);
}

static void key_gone(void *arg, const char *key) {
  bucket *b = arg;
  uint8_t hash[32];
  if (parse_hash(key, hash)) {
    gw_store_remove_key(b->bus->store, hash);
  }
  changed(b);
}

static void route_put(void *arg, const char *key, int64_t version, const uint8_t *value, size_t len) {
  (void)version;
  bucket *b = arg;
  if (!gw_store_put_route(b->bus->store, value, len, false)) {
    refused("routes", key);
  }
  changed(b);
}

static void route_gone(void *arg, const char *key) {
  bucket *b = arg;
  char *end = NULL;
  long long id = strtoll(key, &end, 10);
  if (end && *end == 0 && id > 0) {
    gw_store_remove_route(b->bus->store, id);
  }
  changed(b);
}

static void health_put(void *arg, const char *key, int64_t version, const uint8_t *value, size_t len) {
  (void)version;
  bucket *b = arg;
  Ecolink__V1__RegionHealth *h = ecolink__v1__region_health__unpack(NULL, len, value);
  if (h) {
    gw_store_put_health(b->bus->store, h, eco_boottime_ms());
  } else {
    refused("health", key);
  }
  ecolink__v1__region_health__free_unpacked(h, NULL);
  changed(b);
}

static void health_gone(void *arg, const char *key) {
  bucket *b = arg;
  gw_store_remove_health(b->bus->store, key);
  changed(b);
}

// What only the file knew goes after a full read that told something, or after several that told nothing: an empty
// bucket may be a lost one that its owner is about to fill again.
static bool may_drop_file(bucket *b) {
  b->reads++;
  bool drop = !b->file_dropped && (b->puts > 0 || b->reads >= EMPTY_READS);
  b->file_dropped = b->file_dropped || drop;
  return drop;
}

static void sync_done(bucket *b) {
  gw_store_publish(b->bus->store);
  atomic_store(&b->synced_ms, eco_boottime_ms());
  atomic_store(&b->synced, true);
  if (both_synced(b->bus)) {
    atomic_store(b->bus->known, true);
  }
  look_whether_whole(b);
  judge_behind(b->bus);
}

static void keys_synced(void *arg) {
  bucket *b = arg;
  if (may_drop_file(b)) {
    gw_store_drop_file_keys(b->bus->store);
  }
  sync_done(b);
}

static void routes_synced(void *arg) {
  bucket *b = arg;
  if (may_drop_file(b)) {
    gw_store_drop_file_routes(b->bus->store);
  }
  sync_done(b);
}

static void health_synced(void *arg) {
  sync_done(arg);
}

// ---- usage ----

static void append_batch(gw_bus *bus) {
  if (bus->sums->n == 0) {
    return;
  }
  Ecolink__V1__UsageBatch batch = ECOLINK__V1__USAGE_BATCH__INIT;
  batch.gateway = (char *)eco_service_instance(bus->svc);
  batch.boot = bus->boot;
  batch.sequence = ++bus->sequence;
  gw_usage_sums_fill(bus->sums, &batch);
  if (!gw_spool_append(&bus->spool, &batch)) {
    eco_log(ECO_LOG_ERROR, "usage spool is full: records dropped", ECO_F_I64("records", batch.n_records));
  }
  ECO_CRASH_POINT("gateway.usage.spooled");
  gw_usage_sums_clear(bus->sums);
}

static void collect_usage(gw_bus *bus) {
  gw_usage_record record;
  for (size_t i = 0; i < bus->n_loops; i++) {
    while (gw_usage_pop(bus->loops[i]->usage, &record)) {
      if (!gw_usage_sums_add(bus->sums, &record)) {
        append_batch(bus);
        (void)gw_usage_sums_add(bus->sums, &record);
      }
    }
  }
  append_batch(bus);
}

static void send_usage(gw_bus *bus) {
  int64_t end = 0;
  Ecolink__V1__UsageBatch *batch = NULL;
  while (eco_bus_connected(bus->svc) && (batch = gw_spool_next(&bus->spool, &end)) != NULL) {
    char id[192];
    snprintf(id, sizeof id, "%s-%s-%lld", batch->gateway, batch->boot, (long long)batch->sequence);
    eco_status st = eco_event_publish_direct(bus->svc, "usage.recorded", id, batch->gateway, &batch->base);
    ecolink__v1__usage_batch__free_unpacked(batch, NULL);
    if (!eco_ok(st)) {
      eco_log(ECO_LOG_WARN, "usage stays in the spool", ECO_F_STATUS(st));
      return;
    }
    gw_spool_ack(&bus->spool, end);
    ECO_CRASH_POINT("gateway.usage.taken");
  }
}

// ---- failure reports ----

static void send_reports(gw_bus *bus) {
  for (size_t i = 0; i < bus->n_loops; i++) {
    gw_failure_report *list = gw_loop_take_reports(bus->loops[i]);
    for (gw_failure_report *f = list; f && eco_bus_connected(bus->svc); f = f->next) {
      Ecolink__V1__UpstreamFailure m = ECOLINK__V1__UPSTREAM_FAILURE__INIT;
      char event[ECO_ID_MAX];
      char entity[48];
      m.instance_id = f->instance_id;
      m.replica_id = f->replica_id;
      m.region = f->region;
      m.kind = (char *)gw_failure_word(f->kind);
      m.count = f->count;
      m.successes = f->successes;
      eco_id_new("uf", event);
      snprintf(entity, sizeof entity, "%lld-%d", (long long)f->instance_id, f->replica_id);
      eco_status st = eco_event_publish_direct(bus->svc, "upstream.failed", event, entity, &m.base);
      if (!eco_ok(st)) {
        eco_log(ECO_LOG_DEBUG, "failure report not sent", ECO_F_STATUS(st));
      }
    }
    gw_failure_reports_free(list);
  }
}

// ---- the thread ----

static void save_snapshot(gw_bus *bus, bool now) {
  uint64_t changes = gw_store_changes(bus->store);
  int64_t time_ms = eco_boottime_ms();
  if (!gw_cfg.snapshot_file[0] || changes == bus->saved_changes || !both_synced(bus) ||
      (!now && bus->saved_ms && time_ms - bus->saved_ms < SAVE_MS)) {
    return;
  }
  eco_status st = gw_snapshot_save(bus->store, bus->reader_index, gw_cfg.snapshot_file);
  ECO_CRASH_POINT("gateway.snapshot.saved");
  bus->saved_ms = time_ms;
  if (eco_ok(st)) {
    bus->saved_changes = changes;
  } else {
    eco_log(ECO_LOG_ERROR, "snapshot not saved", ECO_F_STATUS(st));
  }
}

static void set_gauges(gw_bus *bus) {
  const gw_snapshot *s = gw_reader_begin(bus->store, bus->reader_index);
  size_t keys = s->n_keys;
  size_t routes = s->n_routes;
  gw_reader_end(bus->store, bus->reader_index);
  int64_t keys_ms = atomic_load(&bus->keys.synced_ms);
  int64_t routes_ms = atomic_load(&bus->routes.synced_ms);
  int64_t dropped = bus->spool.dropped;
  for (size_t i = 0; i < bus->n_loops; i++) {
    dropped += (int64_t)atomic_load(&bus->loops[i]->usage->dropped);
  }
  gw_metrics_snapshot(keys, routes);
  if (keys_ms && routes_ms) {
    gw_metrics_confirmed(keys_ms < routes_ms ? keys_ms : routes_ms);
  }
  gw_metrics_spool(gw_spool_pending(&bus->spool), dropped);
}

static void tick(gw_bus *bus, bool last) {
  look_whether_whole(&bus->keys);
  look_whether_whole(&bus->routes);
  judge_behind(bus);
  collect_usage(bus);
  send_usage(bus);
  send_reports(bus);
  gw_store_publish(bus->store);  // frees what readers have let go of
  set_gauges(bus);
  save_snapshot(bus, last);
}

static bool wait_tick(gw_bus *bus) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += TICK_MS * 1000000L;
  until.tv_sec += until.tv_nsec / 1000000000L;
  until.tv_nsec %= 1000000000L;
  pthread_mutex_lock(&bus->lock);
  while (!bus->stopping && pthread_cond_timedwait(&bus->wake, &bus->lock, &until) == 0) {
  }
  bool stopping = bus->stopping;
  pthread_mutex_unlock(&bus->lock);
  return !stopping;
}

static void *bus_main(void *arg) {
  gw_bus *bus = arg;
  while (wait_tick(bus)) {
    tick(bus, false);
  }
  tick(bus, true);
  return NULL;
}

static eco_status open_readers(gw_bus *bus) {
  static const eco_kv_reader_fns KEYS = {key_put, key_gone, keys_synced};
  static const eco_kv_reader_fns ROUTES = {route_put, route_gone, routes_synced};
  static const eco_kv_reader_fns HEALTH = {health_put, health_gone, health_synced};
  bus->keys.bus = bus;
  bus->routes.bus = bus;
  bus->health.bus = bus;
  ECO_TRY(eco_kv_reader_open(bus->svc, "keys", &KEYS, &bus->keys, &bus->keys.reader));
  ECO_TRY(eco_kv_reader_open(bus->svc, "routes", &ROUTES, &bus->routes, &bus->routes.reader));
  return eco_kv_reader_open(bus->svc, "health", &HEALTH, &bus->health, &bus->health.reader);
}

eco_status gw_bus_start(eco_service *svc, gw_store *store, gw_loop **loops, size_t n_loops, unsigned reader_index,
                        _Atomic bool *known, gw_bus **out) {
  gw_bus *bus = calloc(1, sizeof *bus);
  gw_usage_sums *sums = malloc(sizeof *sums);
  if (!bus || !sums) {
    abort();
  }
  bus->svc = svc;
  bus->store = store;
  bus->loops = loops;
  bus->n_loops = n_loops;
  bus->reader_index = reader_index;
  bus->known = known;
  bus->sums = sums;
  gw_usage_sums_init(sums);
  eco_id_new("b", bus->boot);
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&bus->wake, &attr);
  pthread_condattr_destroy(&attr);
  pthread_mutex_init(&bus->lock, NULL);
  *out = bus;
  ECO_TRY(gw_spool_open(&bus->spool, gw_cfg.spool_dir, gw_cfg.spool_max_bytes));
  ECO_TRY(open_readers(bus));
  int error = pthread_create(&bus->thread, NULL, bus_main, bus);
  return error ? eco_error(ECO_INTERNAL, "cannot start the bus thread: %s", strerror(error)) : eco_success();
}

void gw_bus_stop(gw_bus *bus) {
  pthread_mutex_lock(&bus->lock);
  bus->stopping = true;
  pthread_cond_signal(&bus->wake);
  pthread_mutex_unlock(&bus->lock);
  pthread_join(bus->thread, NULL);
  eco_kv_reader_close(bus->keys.reader);
  eco_kv_reader_close(bus->routes.reader);
  eco_kv_reader_close(bus->health.reader);
  gw_spool_close(&bus->spool);
  pthread_mutex_destroy(&bus->lock);
  pthread_cond_destroy(&bus->wake);
  free(bus->sums);
  free(bus);
}

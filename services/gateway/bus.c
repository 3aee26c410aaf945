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
#include "ecolink/pace.h"
#include "ecolink/v1/gateway.pb-c.h"
#include "meter.h"
#include "metrics.h"

enum { TICK_MS = 200, SAVE_MS = 10000, COALESCE = 512, EMPTY_READS = 4, BUCKETS = 3 };

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
  gw_meter *meter;
  uint64_t saved_changes;
  int64_t saved_ms;
  eco_pace pace;
  pthread_t thread;
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
  gw_metrics_snapshot(keys, routes);
  if (keys_ms && routes_ms) {
    gw_metrics_confirmed(keys_ms < routes_ms ? keys_ms : routes_ms);
  }
  gw_meter_tell(bus->meter);
}

static void tick(gw_bus *bus, bool last) {
  look_whether_whole(&bus->keys);
  look_whether_whole(&bus->routes);
  judge_behind(bus);
  gw_meter_send(bus->meter);
  send_reports(bus);
  gw_store_publish(bus->store);  // frees what readers have let go of
  set_gauges(bus);
  save_snapshot(bus, last);
}

static void *bus_main(void *arg) {
  gw_bus *bus = arg;
  (void)pthread_setname_np(pthread_self(), "gw-bus");
  while (eco_pace_wait(&bus->pace, TICK_MS)) {
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
  if (!bus) {
    abort();
  }
  bus->svc = svc;
  bus->store = store;
  bus->loops = loops;
  bus->n_loops = n_loops;
  bus->reader_index = reader_index;
  bus->known = known;
  eco_pace_init(&bus->pace);
  *out = bus;
  ECO_TRY(gw_meter_start(svc, loops, n_loops, &bus->meter));
  ECO_TRY(open_readers(bus));
  int error = pthread_create(&bus->thread, NULL, bus_main, bus);
  return error ? eco_error(ECO_INTERNAL, "cannot start the bus thread: %s", strerror(error)) : eco_success();
}

void gw_bus_stop(gw_bus *bus) {
  gw_meter_stop(bus->meter);  // what is left is in the spool: the last tick sends it
  eco_pace_end(&bus->pace);
  pthread_join(bus->thread, NULL);
  eco_kv_reader_close(bus->keys.reader);
  eco_kv_reader_close(bus->routes.reader);
  eco_kv_reader_close(bus->health.reader);
  gw_meter_free(bus->meter);
  eco_pace_free(&bus->pace);
  free(bus);
}

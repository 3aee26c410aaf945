// The Kubernetes driver's face: what callers of driver_ops reach. It reads what is remembered and queues what is
// wanted.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_kube_internal.h"
#include "driver_kube_logs.h"
#include "ecolink/clock.h"
#include "kube_rooms.h"
#include "presets.h"

// ---- admit ----
static eco_status driver_admit(driver *base, const replica_spec *spec) {
  KUBE_USED kube_region *r = NULL;
  const char *json = NULL;
  const engine_preset *preset = preset_find(spec->engine);
  ECO_TRY(kube_region_take((kube_driver *)base, spec->region, &r));
  if (!*spec->image) {
    return eco_error_param(ECO_INVALID_REQUEST, "image", "region %s runs container images: name an engine or an image",
                           spec->region);
  }
  if (preset && preset->local_only && !((kube_driver *)base)->offer_simulator) {
    return eco_error_param(ECO_INVALID_REQUEST, "engine", "engine %s runs on the scheduler's own machine alone",
                           preset->name);
  }
  eco_arena *arena = eco_arena_new();
  eco_status st = kube_deployment(&r->place, spec, NULL, arena, &json);  // whether it can be said at all
  eco_arena_free(arena);
  return st;
}

// ---- apply and remove ----
static eco_status driver_apply(driver *base, const replica_spec *spec) {
  KUBE_USED kube_region *r = NULL;
  const kube_pod_digest *pods[KUBE_VIEW_PODS];
  ECO_TRY(kube_region_take((kube_driver *)base, spec->region, &r));
  pthread_mutex_lock(&r->lock);
  kube_view view = kube_view_of(r, spec->instance_id, spec->replica_id, pods);
  const kube_work *w = kube_work_find(r, spec->instance_id, spec->replica_id);
  bool done = !w && view.deployment && view.deployment->meta.generation >= spec->generation &&
              kube_in_order(&r->place, &view) && !kube_has_leftover(&r->place, &view) &&
              !kube_has_stray(r, spec->instance_id, spec->replica_id);
  eco_status st = done ? eco_success() : kube_work_put(r, KUBE_DO_APPLY, spec->instance_id, spec->replica_id, spec);
  pthread_mutex_unlock(&r->lock);
  return st;
}

static eco_status driver_remove(driver *base, const char *region, int64_t instance_id, int replica_id, int drain_s) {
  KUBE_USED kube_region *r = NULL;
  const kube_pod_digest *pods[KUBE_VIEW_PODS];
  (void)drain_s;  // it is in the pod: preStop and grace period
  ECO_TRY(kube_region_take((kube_driver *)base, region, &r));
  pthread_mutex_lock(&r->lock);
  kube_view view = kube_view_of(r, instance_id, replica_id, pods);
  bool asked = !(view.deployment && !view.deployment->meta.deleting) && !view.secret && !view.service &&
               !kube_work_find(r, instance_id, replica_id) && !kube_has_stray(r, instance_id, replica_id);
  eco_status st = asked ? eco_success() : kube_work_put(r, KUBE_DO_REMOVE, instance_id, replica_id, NULL);
  pthread_mutex_unlock(&r->lock);
  return st;
}

// ---- observe ----
typedef struct key {
  int64_t instance_id;
  int replica_id;
  const kube_pod_digest *pod;  // NULL: another object, or a wish
  bool stray;                  // ours by its label, under a name that we never gave
} key;

static int compare_keys(const void *a, const void *b) {
  const key *x = a;
  const key *y = b;
  if (x->instance_id != y->instance_id) {
    return x->instance_id < y->instance_id ? -1 : 1;
  }
  return x->replica_id - y->replica_id;
}

// Every object and wish that belongs to a replica, sorted by it. Lock held. NULL: no memory.
static key *collect(kube_region *r, size_t *count) {
  static const kube_kind kinds[] = {KUBE_DEPLOYMENTS, KUBE_PODS, KUBE_SECRETS, KUBE_SERVICES};
  size_t most = (size_t)r->queued;
  for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
    most += r->tables[kinds[k]].count;
  }
  key *keys = calloc(most + 1, sizeof(*keys));
  size_t n = 0;
  for (size_t k = 0; keys && k < sizeof(kinds) / sizeof(kinds[0]); k++) {
    const kube_table *t = &r->tables[kinds[k]];
    for (const kube_entry *e = kube_table_next(t, NULL); e; e = kube_table_next(t, e)) {
      if (e->is.meta.ours && e->is.meta.instance_id > 0) {
        bool pod = kinds[k] == KUBE_PODS;
        keys[n++] = (key){.instance_id = e->is.meta.instance_id,
                          .replica_id = e->is.meta.replica_id,
                          .pod = pod ? &e->is.pod : NULL,
                          .stray = !pod && kube_is_stray(&e->is.meta)};
      }
    }
  }
  for (size_t b = 0; keys && b < KUBE_QUEUE_BUCKETS; b++) {
    for (const kube_work *w = r->queue[b]; w; w = w->next) {
      keys[n++] = (key){.instance_id = w->instance_id, .replica_id = w->replica_id};
    }
  }
  if (n > 0) {
    qsort(keys, n, sizeof(*keys), compare_keys);
  }
  *count = n;
  return keys;
}

// A wish alone: nothing exists yet.
static bool tell_wish(const kube_work *w, replica_observation *out) {
  if (!w || (w->again ? w->next_action : w->action) != KUBE_DO_APPLY) {
    return false;
  }
  out->phase = REPLICA_STARTING;
  out->generation = w->again ? w->next_spec.generation : w->spec.generation;
  out->need = DRIVER_NEEDS_NOTHING;
  if (eco_ok(w->last)) {
    (void)snprintf(out->detail, sizeof(out->detail), "being created");
  } else {
    (void)snprintf(out->detail, sizeof(out->detail), "cannot be created: %.130s", w->last.message);
  }
  return true;
}

static size_t judge_all(kube_region *r, const key *keys, size_t n, replica_observation *out) {
  size_t told = 0;
  for (size_t i = 0; i < n;) {
    const kube_pod_digest *pods[KUBE_VIEW_PODS];
    size_t end = i;
    kube_view view = kube_view_of(r, keys[i].instance_id, keys[i].replica_id, pods);
    for (; end < n && compare_keys(&keys[end], &keys[i]) == 0; end++) {
      if (keys[end].pod && view.pod_count < KUBE_VIEW_PODS) {
        pods[view.pod_count++] = keys[end].pod;
      }
      view.stray = view.stray || keys[end].stray;
    }
    replica_observation *o = &out[told];
    const kube_work *w = kube_work_find(r, keys[i].instance_id, keys[i].replica_id);
    bool there = kube_judge(&r->place, &view, o);
    if (there && w && (w->again ? w->next_action : w->action) == KUBE_DO_REMOVE) {
      o->phase = REPLICA_STOPPING;  // asked to end, though its cluster has not heard it yet
      (void)snprintf(o->detail, sizeof(o->detail), "stopping");
    }
    told += there || tell_wish(w, o);
    i = end;
  }
  return told;
}

eco_status kube_fresh(kube_region *r) {
  int64_t now_ms = eco_boottime_ms();
  int64_t stale_ms = KUBE_STALE_BEATS * r->driver->heartbeat_ms;
  for (int k = 0; k < KUBE_OWN_KINDS; k++) {
    const kube_reflector *f = &r->reflectors[k];
    if (!f->synced) {
      return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "region %s is not listed yet%s%.200s", r->name,
                       *r->trouble ? ": " : "", r->trouble);
    }
    if (f->failing_since_ms && now_ms - f->failing_since_ms > stale_ms) {
      return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "a part of region %s cannot be followed any more%s%.200s",
                       r->name, *r->trouble ? ": " : "", r->trouble);
    }
  }
  if (now_ms - r->heard_ms > stale_ms) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "the API server of region %s does not answer", r->name);
  }
  return eco_success();
}

static eco_status driver_version(driver *base, const char *region, uint64_t *out) {
  KUBE_USED kube_region *r = NULL;
  ECO_TRY(kube_region_take((kube_driver *)base, region, &r));
  pthread_mutex_lock(&r->lock);
  eco_status st = kube_fresh(r);
  *out = r->changes;
  pthread_mutex_unlock(&r->lock);
  return st;
}

static eco_status driver_observe(driver *base, const char *region, replica_observe_fn fn, void *arg) {
  KUBE_USED kube_region *r = NULL;
  size_t n = 0;
  ECO_TRY(kube_region_take((kube_driver *)base, region, &r));
  pthread_mutex_lock(&r->lock);
  eco_status st = kube_fresh(r);
  key *keys = eco_ok(st) ? collect(r, &n) : NULL;
  replica_observation *seen = keys ? calloc(n + 1, sizeof(*seen)) : NULL;
  size_t told = seen ? judge_all(r, keys, n, seen) : 0;
  pthread_mutex_unlock(&r->lock);
  if (eco_ok(st) && !seen) {
    st = eco_error(ECO_OVERLOADED, "not enough memory to list the replicas");
  }
  for (size_t i = 0; i < told; i++) {
    fn(arg, &seen[i]);
  }
  free(keys);
  free(seen);
  return st;
}

// ---- capacity ----
static bool rooms_are_seen(const kube_region *r) {
  return r->reflectors[KUBE_NODES].synced && r->reflectors[KUBE_OTHER_PODS].synced &&
         !r->reflectors[KUBE_NODES].optional_refused && !r->reflectors[KUBE_OTHER_PODS].optional_refused;
}

static eco_status driver_rooms(driver *base, const char *region, const char *const *gpu_types, size_t n,
                               driver_room_fn fn, void *arg) {
  KUBE_USED kube_region *r = NULL;
  int totals[KUBE_GPU_TYPES_MAX];
  const char *values[KUBE_GPU_TYPES_MAX];
  ECO_TRY(kube_region_take((kube_driver *)base, region, &r));
  n = n < KUBE_GPU_TYPES_MAX ? n : KUBE_GPU_TYPES_MAX;
  for (size_t i = 0; i < n; i++) {
    values[i] = kube_place_gpu_value(&r->place, gpu_types[i]);
  }
  pthread_mutex_lock(&r->lock);
  bool seen = rooms_are_seen(r);
  if (seen) {
    kube_rooms(&r->tables[KUBE_NODES], &r->tables[KUBE_OTHER_PODS], values, n, totals);
  }
  pthread_mutex_unlock(&r->lock);
  for (size_t i = 0; seen && i < n; i++) {
    fn(arg, gpu_types[i], totals[i]);
  }
  return eco_success();
}

// ---- logs ----
static eco_status driver_logs(driver *base, const char *region, int64_t instance_id, int replica_id, int64_t offset,
                              int max_lines, replica_log_fn fn, void *arg, int64_t *next_offset) {
  KUBE_USED kube_region *r = NULL;
  ECO_TRY(kube_region_take((kube_driver *)base, region, &r));
  return kube_logs_read(r, instance_id, replica_id, offset, max_lines, fn, arg, next_offset);
}

static eco_status driver_forget(driver *base, const char *region, int64_t instance_id, int replica_id) {
  (void)base;
  (void)region;
  (void)instance_id;
  (void)replica_id;
  return eco_success();  // logs went with the pod
}

// ---- open and close ----
static void driver_close(driver *base) {
  kube_driver *d = (kube_driver *)base;
  kube_regions_close(d);
  (void)pthread_mutex_destroy(&d->lock);
  free(d->installation);
  free(d->kubeconfig_dir);
  free(d->service_account_dir);
  free(d->weights_image);
  free(d);
}

static const driver_ops OPS = {
    .name = "kubernetes",
    .asks_tokens = true,
    .configure = kube_configure,
    .rooms = driver_rooms,
    .admit = driver_admit,
    .apply = driver_apply,
    .remove = driver_remove,
    .version = driver_version,
    .observe = driver_observe,
    .logs = driver_logs,
    .forget = driver_forget,
    .close = driver_close,
};

eco_status kube_driver_open(const kube_driver_options *options, driver **out) {
  kube_driver *d = calloc(1, sizeof(*d));
  if (!d) {
    return eco_error(ECO_OVERLOADED, "not enough memory");
  }
  d->base.ops = &OPS;
  d->installation = strdup(options->installation);
  d->kubeconfig_dir = strdup(options->kubeconfig_dir);
  d->service_account_dir = strdup(options->service_account_dir);
  d->weights_image = strdup(options->weights_image);
  d->offer_simulator = options->offer_simulator;
  d->heartbeat_ms = options->heartbeat_ms;
  d->weights_keep_s = options->weights_keep_s;
  d->host = options->host;
  (void)pthread_mutex_init(&d->lock, NULL);
  if (!d->installation || !d->kubeconfig_dir || !d->service_account_dir || !d->weights_image) {
    driver_close(&d->base);
    return eco_error(ECO_OVERLOADED, "not enough memory");
  }
  *out = &d->base;
  return eco_success();
}

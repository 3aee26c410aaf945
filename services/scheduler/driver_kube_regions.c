// The Kubernetes driver's regions: opened, started, replaced when they are configured anew, closed.
//
//   listed ──configured anew──▶ retired ──threads ended, nobody uses it──▶ freed
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_kube_internal.h"
#include "ecolink/log.h"

// ---- who uses one ----
eco_status kube_region_take(kube_driver *d, const char *name, kube_region **out) {
  pthread_mutex_lock(&d->lock);
  kube_region *r = d->regions;
  while (r && strcmp(r->name, name) != 0) {
    r = r->next;
  }
  if (r) {
    r->users++;
  }
  pthread_mutex_unlock(&d->lock);
  *out = r;
  return r ? eco_success() : eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "region %s is not configured here yet", name);
}

void kube_region_give(kube_region *r) {
  pthread_mutex_lock(&r->driver->lock);
  r->users--;
  pthread_mutex_unlock(&r->driver->lock);
}

void kube_region_done(kube_region **r) {
  if (*r) {
    kube_region_give(*r);
  }
}

// ---- open ----
static void free_region(kube_region *r) {
  for (int k = 0; k < KUBE_KINDS; k++) {
    kube_table_free(&r->tables[k]);
  }
  kube_work_free_all(r);
  kube_client_close(r->client);
  if (r->given) {
    ecolink__v1__kubernetes_region__free_unpacked(r->given, NULL);
  }
  free(r->config);
  (void)pthread_mutex_destroy(&r->lock);
  (void)pthread_cond_destroy(&r->wake);
  free(r);
}

static eco_status load_config(const kube_driver *d, const Ecolink__V1__KubernetesRegion *g, kube_config *out) {
  char path[4096];
  if (g->in_cluster) {
    return kube_config_in_cluster(d->service_account_dir, getenv("KUBERNETES_SERVICE_HOST"),
                                  getenv("KUBERNETES_SERVICE_PORT"), out);
  }
  if (!*d->kubeconfig_dir) {
    return eco_error(ECO_INVALID_REQUEST, "ECOLINK_SCHEDULER_KUBECONFIG_DIR is not set");
  }
  (void)snprintf(path, sizeof(path), "%s/%s", d->kubeconfig_dir, g->kubeconfig);
  return kube_config_load(path, g->context, out);
}

// The address that replicas must never reach; a name has none to forbid.
static void note_api_address(kube_region *r, const char *server) {
  char host[64];
  struct in_addr address;
  assert(server != NULL);  // a kubeconfig without one is not loaded
  const char *at = server + strlen("https://");
  (void)snprintf(host, sizeof(host), "%.*s", (int)strcspn(at, ":/"), at);
  if (inet_pton(AF_INET, host, &address) == 1) {
    (void)snprintf(r->api_address, sizeof(r->api_address), "%s", host);
  }
}

static eco_status open_region(kube_region *r, const char *name, const uint8_t *config, size_t len) {
  kube_config access = {.server = NULL};
  (void)snprintf(r->name, sizeof(r->name), "%s", name);
  r->config = malloc(len + 1);
  r->given = ecolink__v1__kubernetes_region__unpack(NULL, len, config);
  if (!r->config || !r->given) {
    return eco_error(ECO_INTERNAL, "the configuration of region %s cannot be read", name);
  }
  memcpy(r->config, config, len);
  r->config_len = len;
  ECO_TRY(kube_place_build(r->driver->installation, r->name, r->given, &r->place));
  kube_place_default_weights(&r->place, r->driver->weights_image);
  ECO_TRY(load_config(r->driver, r->given, &access));
  note_api_address(r, access.server);
  const kube_client_options options = {.user_agent = "ecolink-scheduler/" ECO_VERSION};
  ECO_TRY(kube_client_open(&access, &options, &r->client));
  for (int k = 0; k < KUBE_KINDS; k++) {
    r->reflectors[k] = (kube_reflector){.region = r, .kind = (kube_kind)k};
    if (!kube_table_open(&r->tables[k])) {
      return eco_error(ECO_OVERLOADED, "not enough memory");
    }
  }
  return eco_success();
}

// ---- threads ----
static bool start_thread(pthread_t *thread, void *(*fn)(void *), void *arg, const char *name) {
  bool started = pthread_create(thread, NULL, fn, arg) == 0;
  if (started) {
    (void)pthread_setname_np(*thread, name);
  }
  return started;
}

static void start_region(kube_region *r) {
  for (int k = 0; k < KUBE_KINDS; k++) {
    kube_reflector *f = &r->reflectors[k];
    f->running = start_thread(&f->thread, kube_reflect, f, "kube-watch");
  }
  for (int i = 0; i < KUBE_WORKERS; i++) {
    r->worker_count += start_thread(&r->workers[r->worker_count], kube_worker, r, "kube-write") ? 1 : 0;
  }
  r->heart_running = start_thread(&r->heart, kube_heartbeat, r, "kube-heart");
  r->progress_running = start_thread(&r->progress, kube_progress, r, "kube-progress");
}

static void stop_region(kube_region *r) {
  pthread_mutex_lock(&r->lock);
  r->stopping = true;
  pthread_cond_broadcast(&r->wake);
  pthread_mutex_unlock(&r->lock);
  kube_client_stop(r->client);
}

static void join_region(kube_region *r) {
  for (int k = 0; k < KUBE_KINDS; k++) {
    if (r->reflectors[k].running) {
      (void)pthread_join(r->reflectors[k].thread, NULL);
    }
  }
  while (r->worker_count > 0) {
    (void)pthread_join(r->workers[--r->worker_count], NULL);
  }
  if (r->heart_running) {
    (void)pthread_join(r->heart, NULL);
  }
  if (r->progress_running) {
    (void)pthread_join(r->progress, NULL);
  }
}

// ---- configure ----
// Those that nobody uses any more. Nobody can begin to: they are not listed.
static void reap_retired(kube_driver *d) {
  kube_region *idle = NULL;
  pthread_mutex_lock(&d->lock);
  for (kube_region **at = &d->retired; *at;) {
    kube_region *r = *at;
    if (r->users > 0) {
      at = &r->next;
      continue;
    }
    *at = r->next;
    r->next = idle;
    idle = r;
  }
  pthread_mutex_unlock(&d->lock);
  while (idle) {
    kube_region *r = idle;
    idle = r->next;
    join_region(r);
    free_region(r);
  }
}

static eco_status new_region(kube_driver *d, const char *name, const uint8_t *config, size_t len, uint64_t began,
                             kube_region **out) {
  kube_region *r = calloc(1, sizeof(*r));
  if (!r) {
    return eco_error(ECO_OVERLOADED, "not enough memory");
  }
  r->driver = d;
  r->changes = began;
  (void)pthread_mutex_init(&r->lock, NULL);
  (void)pthread_cond_init(&r->wake, NULL);
  eco_status st = open_region(r, name, config, len);
  if (!eco_ok(st)) {
    free_region(r);
    return st;
  }
  *out = r;
  return eco_success();
}

static uint64_t changes_of(kube_region *r) {
  pthread_mutex_lock(&r->lock);
  uint64_t out = r->changes;
  pthread_mutex_unlock(&r->lock);
  return out;
}

static void replace(kube_driver *d, kube_region *old, kube_region *fresh) {
  pthread_mutex_lock(&d->lock);
  kube_region **at = &d->regions;
  while (*at && *at != old) {
    at = &(*at)->next;
  }
  if (old) {
    *at = old->next;
    old->next = d->retired;
    d->retired = old;
  }
  fresh->next = d->regions;
  d->regions = fresh;
  pthread_mutex_unlock(&d->lock);
}

// What cannot be used leaves the region as it was.
eco_status kube_configure(driver *base, const char *name, const uint8_t *config, size_t len) {
  kube_driver *d = (kube_driver *)base;
  kube_region *old = NULL;
  kube_region *fresh = NULL;
  reap_retired(d);
  if (eco_ok(kube_region_take(d, name, &old))) {
    kube_region_give(old);  // listed regions are taken out by this thread alone
    if (old->config_len == len && memcmp(old->config, config, len) == 0) {
      return eco_success();
    }
  }
  // it counts on far above its predecessor: no number of theirs is the same
  ECO_TRY(new_region(d, name, config, len, old ? changes_of(old) + UINT32_MAX : 0, &fresh));
  assert(fresh != NULL);
  replace(d, old, fresh);
  if (old) {
    eco_log(ECO_LOG_INFO, "region was configured anew", ECO_F_STR("region", name));
    stop_region(old);
  }
  start_region(fresh);
  return eco_success();
}

void kube_regions_close(kube_driver *d) {
  for (kube_region *r = d->regions; r; r = r->next) {
    stop_region(r);
  }
  kube_region **lists[] = {&d->regions, &d->retired};
  for (size_t i = 0; i < 2; i++) {
    while (*lists[i]) {
      kube_region *r = *lists[i];
      *lists[i] = r->next;
      join_region(r);
      free_region(r);
    }
  }
}

// What the Kubernetes driver sees: a thread per kind of object lists, then watches from there on; a heartbeat tells a
// quiet API server from a dead one.
#include <stdio.h>
#include <string.h>

#include "driver_kube_internal.h"
#include "ecolink/clock.h"
#include "ecolink/log.h"

static const struct {
  const char *api;
  const char *collection;
  bool namespaced;
  bool metadata_only;
} KINDS[KUBE_KINDS] = {
    [KUBE_DEPLOYMENTS] = {"/apis/apps/v1", "deployments", true, false},
    [KUBE_PODS] = {"/api/v1", "pods", true, false},
    [KUBE_SECRETS] = {"/api/v1", "secrets", true, true},
    [KUBE_SERVICES] = {"/api/v1", "services", true, false},
    [KUBE_VOLUMES] = {"/api/v1", "persistentvolumeclaims", true, true},
    [KUBE_POLICIES] = {"/apis/networking.k8s.io/v1", "networkpolicies", true, true},
    [KUBE_NODES] = {"/api/v1", "nodes", false, false},
    [KUBE_OTHER_PODS] = {"/api/v1", "pods", false, false},
};

void kube_path(const kube_region *r, kube_kind kind, const char *name, const char *query, char out[KUBE_PATH_MAX]) {
  (void)snprintf(out, KUBE_PATH_MAX, "%s%s%s/%s%s%s%s%s", KINDS[kind].api, KINDS[kind].namespaced ? "/namespaces/" : "",
                 KINDS[kind].namespaced ? r->place.name_space : "", KINDS[kind].collection, name ? "/" : "",
                 name ? name : "", *query ? "?" : "", query);
}

// Everything we know of our own by its label; of the rest of the cluster what has a place and is not done.
static void list_path(const kube_region *r, kube_kind kind, char out[KUBE_PATH_MAX]) {
  char query[512] = "";
  if (kind < KUBE_OWN_KINDS) {
    (void)snprintf(query, sizeof(query), "labelSelector=ecolink.io%%2Finstallation%%3D%s", r->driver->installation);
  } else if (kind == KUBE_OTHER_PODS) {
    (void)snprintf(
        query, sizeof(query),
        "fieldSelector=status.phase%%21%%3DSucceeded%%2Cstatus.phase%%21%%3DFailed%%2Cmetadata.namespace%%21%%3D%s",
        r->place.name_space);
  }
  kube_path(r, kind, NULL, query, out);
}

void kube_changed(kube_region *r) {
  pthread_mutex_lock(&r->lock);
  r->changes++;
  pthread_mutex_unlock(&r->lock);
  r->driver->host.changed(r->driver->host.arg, r->name);
}

// ---- lists and events ----
static void on_begin(void *arg) {
  kube_reflector *f = arg;
  pthread_mutex_lock(&f->region->lock);
  f->region->tables[f->kind].list++;
  pthread_mutex_unlock(&f->region->lock);
}

static void on_item(void *arg, yyjson_val *object) {
  kube_reflector *f = arg;
  pthread_mutex_lock(&f->region->lock);
  (void)kube_remember(f->region, f->kind, object, false);
  pthread_mutex_unlock(&f->region->lock);
}

static void on_event(void *arg, kube_event type, yyjson_val *object) {
  kube_reflector *f = arg;
  kube_region *r = f->region;
  const char *rv = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(object, "metadata"), "resourceVersion"));
  pthread_mutex_lock(&r->lock);
  bool news = type != KUBE_BOOKMARK && kube_remember(r, f->kind, object, type == KUBE_DELETED);
  (void)snprintf(f->seen_rv, sizeof(f->seen_rv), "%s", rv ? rv : "");
  pthread_mutex_unlock(&r->lock);
  if (news && f->kind < KUBE_OWN_KINDS) {
    kube_changed(r);  // most of what controllers write into a status says nothing to us
  }
}

static void on_alive(void *arg) {
  kube_reflector *f = arg;
  pthread_mutex_lock(&f->region->lock);
  f->failing_since_ms = 0;
  pthread_mutex_unlock(&f->region->lock);
}

static bool on_question(void *arg) {
  kube_reflector *f = arg;
  pthread_mutex_lock(&f->region->lock);
  bool go_on = f->rv[0] != '\0';
  pthread_mutex_unlock(&f->region->lock);
  return go_on;
}

// ---- a reflector's life ----
static const char *accept_of(kube_kind kind, bool list) {
  if (!KINDS[kind].metadata_only) {
    return NULL;
  }
  return list ? KUBE_ACCEPT_METADATA_LIST : KUBE_ACCEPT_METADATA;
}

static void note_failing(kube_reflector *f) {
  pthread_mutex_lock(&f->region->lock);
  f->failing_since_ms = f->failing_since_ms ? f->failing_since_ms : eco_boottime_ms();
  pthread_mutex_unlock(&f->region->lock);
}

static void note_trouble(kube_reflector *f, const kube_problem *p, const char *doing) {
  kube_region *r = f->region;
  pthread_mutex_lock(&r->lock);
  bool optional = f->kind >= KUBE_OWN_KINDS && p->reason == KUBE_FORBIDDEN;
  bool told = optional ? f->optional_refused : *r->trouble != '\0';
  f->optional_refused = f->optional_refused || optional;
  if (!optional) {
    (void)snprintf(r->trouble, sizeof(r->trouble), "%s", p->message);
  }
  pthread_mutex_unlock(&r->lock);
  if (!told) {
    eco_log(
        ECO_LOG_WARN,
        optional ? "free GPUs cannot be seen: the operator's numbers stand" : "a region's objects cannot be followed",
        ECO_F_STR("region", r->name), ECO_F_STR("doing", doing), ECO_F_STR("kind", KINDS[f->kind].collection),
        ECO_F_I64("http", p->http), ECO_F_STR("reason", p->word), ECO_F_STR("error", p->message));
  }
}

static kube_reason list_all(kube_reflector *f, const char *path) {
  static const kube_list_fns fns = {on_begin, on_item};
  kube_problem problem = {.reason = KUBE_OK};
  char rv[KUBE_RV_MAX] = "";
  kube_reason reason = kube_list(f->region->client, path, accept_of(f->kind, true), &fns, f, rv, &problem);
  if (reason != KUBE_OK) {
    note_failing(f);
    note_trouble(f, &problem, "list");
    return reason;
  }
  kube_region *r = f->region;
  pthread_mutex_lock(&r->lock);
  (void)kube_table_sweep(&r->tables[f->kind]);
  memcpy(f->rv, rv, sizeof(f->rv));
  memcpy(f->seen_rv, rv, sizeof(f->seen_rv));
  f->synced = true;
  f->optional_refused = false;
  f->failing_since_ms = 0;
  r->trouble[0] = '\0';
  pthread_mutex_unlock(&r->lock);
  if (f->kind < KUBE_OWN_KINDS) {
    kube_changed(r);
  }
  return KUBE_OK;
}

// Watches until the position is lost. False: list again.
static bool follow(kube_reflector *f, const char *path, int *failures) {
  static const kube_watch_fns fns = {on_event, on_alive, on_question};
  kube_problem problem;
  char rv[KUBE_RV_MAX];
  pthread_mutex_lock(&f->region->lock);
  memcpy(rv, f->rv, sizeof(rv));
  bool lost = rv[0] == '\0';  // the heartbeat found that the server's past has changed
  pthread_mutex_unlock(&f->region->lock);
  if (lost) {
    return false;
  }
  kube_reason reason = kube_watch(f->region->client, path, accept_of(f->kind, false), &fns, f, rv, &problem);
  pthread_mutex_lock(&f->region->lock);
  if (f->rv[0]) {
    memcpy(f->rv, rv, sizeof(f->rv));
  }
  lost = f->rv[0] == '\0';
  pthread_mutex_unlock(&f->region->lock);
  if (reason == KUBE_OK) {
    *failures = 0;
    return !lost;
  }
  ++*failures;
  note_failing(f);
  if (reason == KUBE_GONE || lost || (reason == KUBE_SERVER && *failures > 1) || reason == KUBE_INVALID) {
    return false;
  }
  if (reason != KUBE_TIMEOUT && reason != KUBE_UNREACHABLE) {
    note_trouble(f, &problem, "watch");
  }
  return true;
}

void *kube_reflect(void *arg) {
  kube_reflector *f = arg;
  kube_client *client = f->region->client;
  char path[KUBE_PATH_MAX];
  int failures = 0;
  bool listed = false;
  list_path(f->region, f->kind, path);
  do {
    if (!listed) {
      listed = list_all(f, path) == KUBE_OK;
      failures = listed ? 0 : failures + 1;
    } else {
      listed = follow(f, path, &failures);
    }
  } while (kube_client_sleep(client,
                             failures > 0 ? kube_backoff_ms(failures, (uint32_t)eco_boottime_ms() * 2654435761U) : 0));
  return NULL;
}

// ---- the heartbeat ----
// A consistent read of one of our own objects: the server answers from etcd, not from its memory. Its version must not
// lie before what we have seen: then etcd was restored, and everything is listed anew.
static void judge_past(kube_region *r, char seen[KUBE_KINDS][KUBE_RV_MAX], const char *body, size_t len) {
  yyjson_doc *doc = yyjson_read(body, len, 0);
  const char *rv =
      yyjson_get_str(yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(doc), "metadata"), "resourceVersion"));
  pthread_mutex_lock(&r->lock);
  for (int k = 0; rv && k < KUBE_KINDS; k++) {
    bool comparable = false;
    if (seen[k][0] && kube_rv_compare(rv, seen[k], &comparable) < 0 && comparable) {
      eco_log(ECO_LOG_WARN, "the API server's past has changed: listing anew", ECO_F_STR("region", r->name),
              ECO_F_STR("kind", KINDS[k].collection), ECO_F_STR("seen", seen[k]), ECO_F_STR("now", rv));
      r->reflectors[k].rv[0] = '\0';
      r->reflectors[k].synced = false;
    }
  }
  pthread_mutex_unlock(&r->lock);
  yyjson_doc_free(doc);
}

void *kube_heartbeat(void *arg) {
  kube_region *r = arg;
  char path[KUBE_PATH_MAX];
  kube_path(r, KUBE_DEPLOYMENTS, NULL, "limit=1", path);
  do {
    kube_answer answer;
    // what the watches had seen before the question was put lies before the answer
    char seen[KUBE_KINDS][KUBE_RV_MAX];
    pthread_mutex_lock(&r->lock);
    for (int k = 0; k < KUBE_KINDS; k++) {
      memcpy(seen[k], r->reflectors[k].seen_rv, KUBE_RV_MAX);
    }
    pthread_mutex_unlock(&r->lock);
    kube_request request = {
        .method = "GET", .path = path, .accept = KUBE_ACCEPT_METADATA_LIST, .timeout_ms = (int)r->driver->heartbeat_ms};
    if (kube_call(r->client, &request, &answer) == KUBE_OK) {
      pthread_mutex_lock(&r->lock);
      r->heard_ms = eco_boottime_ms();
      pthread_mutex_unlock(&r->lock);
      judge_past(r, seen, answer.body.data, answer.body.len);
    }
    kube_answer_free(&answer);
  } while (kube_client_sleep(r->client, r->driver->heartbeat_ms));
  return NULL;
}

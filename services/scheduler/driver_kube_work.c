// What the Kubernetes driver writes: a queue of replicas, each taken by one worker at a time, with a back-off of its
// own.
//
//   absent:  POST (creates, or says that the name is taken: by us, or by somebody whose object is left alone)
//   present: server-side apply with the uid and resourceVersion that were read
//   deleting: nothing, until it is gone
//   removal: DELETE with the uid that was read
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_copy.h"
#include "driver_kube_internal.h"
#include "driver_kube_logs.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"

enum { STRAYS_AT_ONCE = 16 };

// ---- the queue ----
static size_t bucket_of(int64_t instance_id, int replica_id) {
  return ((uint64_t)instance_id * 31 + (uint64_t)replica_id) % KUBE_QUEUE_BUCKETS;
}

kube_work *kube_work_find(kube_region *r, int64_t instance_id, int replica_id) {
  for (kube_work *w = r->queue[bucket_of(instance_id, replica_id)]; w; w = w->next) {
    if (w->instance_id == instance_id && w->replica_id == replica_id) {
      return w;
    }
  }
  return NULL;
}

static void free_work(kube_work *w) {
  eco_arena_free(w->arena);
  eco_arena_free(w->next_arena);
  free(w);
}

static void unlink_work(kube_region *r, kube_work *w) {
  kube_work **at = &r->queue[bucket_of(w->instance_id, w->replica_id)];
  while (*at != w) {
    at = &(*at)->next;
  }
  *at = w->next;
  r->queued--;
  free_work(w);
}

void kube_work_free_all(kube_region *r) {
  for (size_t b = 0; b < KUBE_QUEUE_BUCKETS; b++) {
    while (r->queue[b]) {
      unlink_work(r, r->queue[b]);
    }
  }
}

static bool same_wish(const kube_work *w, kube_action action, const replica_spec *spec) {
  kube_action wanted = w->again ? w->next_action : w->action;
  int64_t generation = w->again ? w->next_spec.generation : w->spec.generation;
  return wanted == action && (action == KUBE_DO_REMOVE || generation == spec->generation);
}

static void set_wish(kube_work *w, kube_action action, const replica_spec *spec) {
  eco_arena *arena = spec ? eco_arena_new() : NULL;
  replica_spec copy = {.instance_id = w->instance_id};
  if (spec) {
    driver_copy_spec(arena, spec, &copy);
  }
  if (w->running) {
    eco_arena_free(w->next_arena);
    w->next_arena = arena;
    w->next_spec = copy;
    w->next_action = action;
    w->again = true;
    return;
  }
  eco_arena_free(w->arena);
  w->arena = arena;
  w->spec = copy;
  w->action = action;
  w->failures = 0;
  w->due_ms = 0;
  w->last = eco_success();
}

eco_status kube_work_put(kube_region *r, kube_action action, int64_t instance_id, int replica_id,
                         const replica_spec *spec) {
  kube_work *w = kube_work_find(r, instance_id, replica_id);
  if (w && same_wish(w, action, spec)) {
    return w->last;
  }
  if (!w) {
    w = r->queued < KUBE_QUEUE_MAX ? calloc(1, sizeof(*w)) : NULL;
    if (!w) {
      return eco_error(ECO_OVERLOADED, "too much waits to be written in region %s", r->name);
    }
    size_t b = bucket_of(instance_id, replica_id);
    w->instance_id = instance_id;
    w->replica_id = replica_id;
    w->next = r->queue[b];
    r->queue[b] = w;
    r->queued++;
  }
  set_wish(w, action, spec);
  pthread_cond_broadcast(&r->wake);
  return eco_success();
}

// ---- one write ----
typedef struct task {
  kube_region *r;
  const kube_work *w;
  eco_arena *arena;
  char name[KUBE_NAME_MAX];
} task;

static eco_status may_write(const task *t) {
  const driver_host *host = &t->r->driver->host;
  return host->may_write(host->arg, t->r->name)
             ? eco_success()
             : eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "this scheduler does not lead region %s", t->r->name);
}

// The one place where anything is written. Checks the lease right before.
static kube_reason send(const task *t, const char *method, kube_kind kind, const char *path, const char *type,
                        const char *body, kube_answer *answer) {
  *answer =
      (kube_answer){.problem = {.reason = KUBE_UNREACHABLE, .message = "this scheduler does not lead the region"}};
  if (!eco_ok(may_write(t))) {
    return KUBE_UNREACHABLE;
  }
  kube_request request = {.method = method,
                          .path = path,
                          .content_type = type,
                          .accept = kind == KUBE_SECRETS || kind == KUBE_VOLUMES ? KUBE_ACCEPT_METADATA : NULL,
                          .body = body,
                          .body_len = strlen(body),
                          .priority = KUBE_WRITE};
  return kube_call(t->r->client, &request, answer);
}

static void remember(const task *t, kube_kind kind, const kube_answer *answer) {
  yyjson_doc *doc = answer->body.len ? yyjson_read(answer->body.data, answer->body.len, 0) : NULL;
  yyjson_val *root = doc ? yyjson_doc_get_root(doc) : NULL;
  const char *what = yyjson_get_str(yyjson_obj_get(root, "kind"));
  if (root && what && strcmp(what, "Status") != 0) {
    pthread_mutex_lock(&t->r->lock);
    kube_remember_answer(t->r, kind, root);
    pthread_mutex_unlock(&t->r->lock);
  }
  yyjson_doc_free(doc);
}

// What is known of the object, by copy. False: nothing.
static bool known(const task *t, kube_kind kind, const char *name, kube_meta *out) {
  pthread_mutex_lock(&t->r->lock);
  const kube_entry *e = kube_table_find(&t->r->tables[kind], name);
  if (e) {
    *out = e->is.meta;
  }
  pthread_mutex_unlock(&t->r->lock);
  return e != NULL;
}

// After "already exists": whose it is, and in which version.
static eco_status look(const task *t, kube_kind kind, const char *name, kube_meta *out) {
  char path[KUBE_PATH_MAX];
  kube_answer answer;
  kube_path(t->r, kind, name, "", path);
  kube_request request = {.method = "GET", .path = path, .accept = KUBE_ACCEPT_METADATA};
  kube_reason reason = kube_call(t->r->client, &request, &answer);
  eco_status st = kube_problem_status(&answer.problem, "looking whose it is");
  yyjson_doc *doc = reason == KUBE_OK ? yyjson_read(answer.body.data, answer.body.len, 0) : NULL;
  if (reason == KUBE_OK && !(doc && kube_meta_read(yyjson_doc_get_root(doc), t->r->driver->installation, out))) {
    st = eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "the API server's answer cannot be read");
  }
  yyjson_doc_free(doc);
  kube_answer_free(&answer);
  ECO_TRY(st);
  bool replica = kind != KUBE_VOLUMES && kind != KUBE_POLICIES;
  if (!out->ours || (replica && (out->instance_id != t->w->instance_id || out->replica_id != t->w->replica_id))) {
    eco_log(ECO_LOG_ERROR, "an object that is not ours bears our name: it is left alone",
            ECO_F_STR("region", t->r->name), ECO_F_STR("name", name), ECO_F_STR("uid", out->uid));
    return eco_error(ECO_NAME_TAKEN, "an object of somebody else is called %.63s in namespace %.63s", name,
                     t->r->place.name_space);
  }
  return eco_success();
}

// What our create left in managedFields becomes what an apply would have left: fields that we say no more then go.
static eco_status adopt_fields(const task *t, kube_kind kind, const char *name, kube_meta *meta) {
  char path[KUBE_PATH_MAX];
  kube_answer answer;
  if (meta->created_entry < 0) {
    return eco_success();
  }
  kube_path(t->r, kind, name, "fieldManager=" KUBE_MANAGER, path);
  const char *body =
      eco_sprintf(t->arena,
                  "[{\"op\":\"test\",\"path\":\"/metadata/resourceVersion\",\"value\":\"%s\"},"
                  "{\"op\":\"replace\",\"path\":\"/metadata/managedFields/%d/operation\",\"value\":\"Apply\"}]",
                  meta->rv, meta->created_entry);
  kube_reason reason = send(t, "PATCH", kind, path, KUBE_JSON_PATCH, body, &answer);
  eco_status st = kube_problem_status(&answer.problem, "taking over its fields");
  yyjson_doc *doc = reason == KUBE_OK ? yyjson_read(answer.body.data, answer.body.len, 0) : NULL;
  if (doc) {
    (void)kube_meta_read(yyjson_doc_get_root(doc), t->r->driver->installation, meta);
  }
  yyjson_doc_free(doc);
  kube_answer_free(&answer);
  return st;
}

typedef eco_status (*make_fn)(const task *t, const kube_stamp *stamp, const void *more, const char **json);

static eco_status create(const task *t, kube_kind kind, make_fn make, const void *more, kube_reason *reason) {
  char path[KUBE_PATH_MAX];
  kube_answer answer;
  const char *json = NULL;
  ECO_TRY(make(t, NULL, more, &json));
  kube_path(t->r, kind, NULL, "fieldManager=" KUBE_MANAGER, path);
  *reason = send(t, "POST", kind, path, KUBE_JSON, json, &answer);
  ECO_CRASH_POINT("kubernetes.object_created");
  eco_status st = kube_problem_status(&answer.problem, "creating it");
  if (*reason == KUBE_OK) {
    remember(t, kind, &answer);
  }
  kube_answer_free(&answer);
  return st;
}

static eco_status change(const task *t, kube_kind kind, const char *name, kube_meta *meta, make_fn make,
                         const void *more) {
  char path[KUBE_PATH_MAX];
  kube_answer answer;
  const char *json = NULL;
  if (meta->deleting) {
    return eco_error(ECO_IN_PROGRESS, "it is being deleted: it is made again when it is gone");
  }
  ECO_TRY(adopt_fields(t, kind, name, meta));
  kube_stamp stamp = {.uid = meta->uid, .resource_version = meta->rv};
  ECO_TRY(make(t, &stamp, more, &json));
  kube_path(t->r, kind, name, "fieldManager=" KUBE_MANAGER "&force=true", path);
  kube_reason reason = send(t, "PATCH", kind, path, KUBE_APPLY, json, &answer);
  ECO_CRASH_POINT("kubernetes.object_applied");
  eco_status st = kube_problem_status(&answer.problem, "changing it");
  if (reason == KUBE_OK) {
    remember(t, kind, &answer);
  }
  kube_answer_free(&answer);
  return st;
}

static eco_status delete_one(const task *t, kube_kind kind, const char *name) {
  kube_meta meta;
  kube_answer answer;
  char path[KUBE_PATH_MAX];
  if (!known(t, kind, name, &meta) || meta.deleting || !meta.ours) {
    return eco_success();
  }
  kube_path(t->r, kind, name, "", path);
  const char *body =
      eco_sprintf(t->arena,
                  "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"propagationPolicy\":\"Background\","
                  "\"preconditions\":{\"uid\":\"%s\"}}",
                  meta.uid);
  kube_reason reason = send(t, "DELETE", kind, path, KUBE_JSON, body, &answer);
  ECO_CRASH_POINT("kubernetes.object_deleted");
  eco_status st = kube_problem_status(&answer.problem, "deleting it");
  if (reason == KUBE_NOT_FOUND || reason == KUBE_CONFLICT) {
    st = eco_success();  // gone, or another one of that name: what it is the watch tells
  }
  if (reason == KUBE_OK || reason == KUBE_NOT_FOUND) {
    pthread_mutex_lock(&t->r->lock);
    const kube_entry *e = kube_table_find(&t->r->tables[kind], name);
    if (e && strcmp(e->is.meta.uid, meta.uid) == 0) {
      kube_table_drop(&t->r->tables[kind], name);
    }
    pthread_mutex_unlock(&t->r->lock);
  }
  kube_answer_free(&answer);
  return st;
}

static eco_status delete_strays(const task *t) {
  static const kube_kind kinds[] = {KUBE_DEPLOYMENTS, KUBE_SERVICES, KUBE_SECRETS};
  for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
    char name[KUBE_NAME_MAX];
    for (int i = 0; i < STRAYS_AT_ONCE; i++) {
      pthread_mutex_lock(&t->r->lock);
      bool found = kube_find_stray(t->r, kinds[k], t->w->instance_id, t->w->replica_id, name);
      pthread_mutex_unlock(&t->r->lock);
      if (!found) {
        break;
      }
      eco_log(ECO_LOG_WARN, "a copy of our object under another name is deleted", ECO_F_STR("region", t->r->name),
              ECO_F_STR("name", name));
      ECO_TRY(eco_context(delete_one(t, kinds[k], name), "copy %s", name));
    }
  }
  return eco_success();
}

// Makes the object as it should be, unless it is.
static eco_status ensure(const task *t, kube_kind kind, const char *name, bool fixed, make_fn make, const void *more) {
  kube_meta meta = {.ours = false};
  if (!known(t, kind, name, &meta)) {
    kube_reason reason = KUBE_OK;
    eco_status st = create(t, kind, make, more, &reason);
    if (reason != KUBE_EXISTS) {
      return st;
    }
    ECO_TRY(look(t, kind, name, &meta));
    if (fixed) {
      return eco_success();
    }
  } else if (!meta.deleting && (fixed || !meta.edited)) {
    return eco_success();
  }
  return change(t, kind, name, &meta, make, more);
}

// ---- the objects of a replica ----
static eco_status make_deployment(const task *t, const kube_stamp *stamp, const void *more, const char **json) {
  (void)more;
  return kube_deployment(&t->r->place, &t->w->spec, stamp, t->arena, json);
}

static eco_status said(const char *json) {
  return json ? eco_success() : eco_error(ECO_INTERNAL, "an object cannot be written as JSON");
}

static eco_status make_secret(const task *t, const kube_stamp *stamp, const void *more, const char **json) {
  *json = kube_secret(&t->r->place, &t->w->spec, more, stamp, t->arena);
  return said(*json);
}

static eco_status make_service(const task *t, const kube_stamp *stamp, const void *more, const char **json) {
  *json = kube_service(&t->r->place, &t->w->spec, more, stamp, t->arena);
  return said(*json);
}

static eco_status make_volume(const task *t, const kube_stamp *stamp, const void *more, const char **json) {
  (void)stamp;
  (void)more;
  *json = kube_volume(&t->r->place, &t->w->spec, t->arena);
  return said(*json);
}

// The namespace's own objects are made once, and again when a watch shows that one has gone.
static eco_status prepare_namespace(const task *t) {
  pthread_mutex_lock(&t->r->lock);
  bool done = t->r->prepared && kube_table_find(&t->r->tables[KUBE_POLICIES], "ecolink-deny") &&
              kube_table_find(&t->r->tables[KUBE_POLICIES], "ecolink-replicas");
  pthread_mutex_unlock(&t->r->lock);
  char path[KUBE_PATH_MAX];
  const char *name = NULL;
  kube_path(t->r, KUBE_POLICIES, NULL, "fieldManager=" KUBE_MANAGER, path);
  for (int i = 0; !done && i < KUBE_NAMESPACE_OBJECTS; i++) {
    kube_answer answer;
    const char *json = kube_namespace_object(&t->r->place, t->r->api_address, i, t->arena, &name);
    kube_reason reason = send(t, "POST", KUBE_POLICIES, path, KUBE_JSON, json, &answer);
    eco_status st = kube_problem_status(&answer.problem, name);
    if (reason == KUBE_OK) {
      remember(t, KUBE_POLICIES, &answer);
    }
    kube_answer_free(&answer);
    if (reason != KUBE_EXISTS) {
      ECO_TRY(st);
    }
  }
  pthread_mutex_lock(&t->r->lock);
  t->r->prepared = true;
  pthread_mutex_unlock(&t->r->lock);
  return eco_success();
}

static eco_status ensure_deployment(const task *t, char uid[KUBE_UID_MAX]) {
  kube_meta meta;
  const replica_spec *spec = &t->w->spec;
  bool there = known(t, KUBE_DEPLOYMENTS, t->name, &meta);
  if (there && meta.ours && !meta.deleting && meta.generation < spec->generation) {
    ECO_TRY(change(t, KUBE_DEPLOYMENTS, t->name, &meta, make_deployment, NULL));
  } else if (!there || meta.generation <= spec->generation) {
    ECO_TRY(ensure(t, KUBE_DEPLOYMENTS, t->name, false, make_deployment, NULL));
  }
  if (!known(t, KUBE_DEPLOYMENTS, t->name, &meta)) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "it is gone again");
  }
  memcpy(uid, meta.uid, KUBE_UID_MAX);
  return eco_success();
}

// The region may want another type of Service than when it was made.
static eco_status ensure_service(const task *t, const char *uid) {
  kube_meta meta;
  pthread_mutex_lock(&t->r->lock);
  const kube_entry *e = kube_table_find(&t->r->tables[KUBE_SERVICES], t->name);
  bool other = e && strcmp(e->is.service.type, kube_service_type(&t->r->place)) != 0;
  pthread_mutex_unlock(&t->r->lock);
  if (other && known(t, KUBE_SERVICES, t->name, &meta) && meta.ours) {
    return change(t, KUBE_SERVICES, t->name, &meta, make_service, uid);
  }
  return ensure(t, KUBE_SERVICES, t->name, false, make_service, uid);
}

static eco_status do_apply(const task *t) {
  char uid[KUBE_UID_MAX];
  char volume[KUBE_NAME_MAX];
  const replica_spec *spec = &t->w->spec;
  ECO_TRY(may_write(t));
  ECO_TRY(delete_strays(t));
  ECO_TRY(eco_context(prepare_namespace(t), "namespace %s", t->r->place.name_space));
  if (kube_wants_volume(&t->r->place, spec)) {
    kube_volume_name(spec->account_id, spec->model_repo, spec->model_revision, volume);
    ECO_TRY(eco_context(ensure(t, KUBE_VOLUMES, volume, true, make_volume, NULL), "weights volume"));
  }
  ECO_TRY(eco_context(ensure_deployment(t, uid), "Deployment %s", t->name));
  if (kube_wants_secret(spec)) {
    ECO_TRY(eco_context(ensure(t, KUBE_SECRETS, t->name, false, make_secret, uid), "Secret %s", t->name));
  }
  eco_status st = kube_wants_service(&t->r->place) ? ensure_service(t, uid) : delete_one(t, KUBE_SERVICES, t->name);
  return eco_context(st, "Service %s", t->name);
}

// ---- removal ----
// The Deployment owns the rest; what a crash left without one is deleted by name.
static eco_status do_remove(const task *t) {
  ECO_TRY(may_write(t));
  ECO_TRY(delete_strays(t));
  kube_meta meta;
  if (known(t, KUBE_DEPLOYMENTS, t->name, &meta) && meta.ours && !meta.deleting) {
    kube_logs_keep(t->r, t->w->instance_id, t->w->replica_id);
  }
  ECO_TRY(eco_context(delete_one(t, KUBE_DEPLOYMENTS, t->name), "Deployment %s", t->name));
  ECO_TRY(eco_context(delete_one(t, KUBE_SERVICES, t->name), "Service %s", t->name));
  return eco_context(delete_one(t, KUBE_SECRETS, t->name), "Secret %s", t->name);
}

// ---- the workers ----
static void perform(kube_region *r, kube_work *w) {
  task t = {.r = r, .w = w, .arena = eco_arena_new()};
  kube_replica_name(w->instance_id, w->replica_id, t.name);
  eco_status st = w->action == KUBE_DO_APPLY ? do_apply(&t) : do_remove(&t);
  bool leads = eco_ok(may_write(&t));
  eco_arena_free(t.arena);
  pthread_mutex_lock(&r->lock);
  w->running = false;
  if (!leads) {
    unlink_work(r, w);  // the leader has its own; ours would be old when we lead again
  } else if (w->again) {
    eco_arena_free(w->arena);
    w->arena = w->next_arena;
    w->spec = w->next_spec;
    w->action = w->next_action;
    w->next_arena = NULL;
    w->again = false;
    w->failures = 0;
    w->due_ms = 0;
    w->last = eco_success();
  } else if (eco_ok(st)) {
    unlink_work(r, w);
  } else {
    w->failures++;
    w->last = st;
    w->due_ms = eco_boottime_ms() + kube_backoff_ms(w->failures, (uint32_t)eco_boottime_ms() * 2654435761U);
  }
  pthread_mutex_unlock(&r->lock);
  kube_changed(r);
}

// What is due now; otherwise *wait_ms until something is. Lock held.
static kube_work *next_due(kube_region *r, int64_t now_ms, int64_t *wait_ms) {
  *wait_ms = 1000;
  for (size_t b = 0; r->queued > 0 && b < KUBE_QUEUE_BUCKETS; b++) {
    for (kube_work *w = r->queue[b]; w; w = w->next) {
      if (w->running) {
        continue;
      }
      if (w->due_ms <= now_ms) {
        return w;
      }
      *wait_ms = w->due_ms - now_ms < *wait_ms ? w->due_ms - now_ms : *wait_ms;
    }
  }
  return NULL;
}

void *kube_worker(void *arg) {
  kube_region *r = arg;
  pthread_mutex_lock(&r->lock);
  while (!r->stopping) {
    int64_t wait_ms = 0;
    kube_work *w = next_due(r, eco_boottime_ms(), &wait_ms);
    if (w) {
      w->running = true;
      pthread_mutex_unlock(&r->lock);
      perform(r, w);
      pthread_mutex_lock(&r->lock);
      continue;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += wait_ms % 1000 * 1000000;
    until.tv_sec += wait_ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_clockwait(&r->wake, &r->lock, CLOCK_MONOTONIC, &until);
  }
  pthread_mutex_unlock(&r->lock);
  return NULL;
}

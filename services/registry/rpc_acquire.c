// What the scheduler asks: the launch snapshot of a model, pinned or not; and the release of pins.
#include <string.h>

#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "handlers.h"
#include "models.h"
#include "paths.h"
#include "registry_limits.h"
#include "store.h"

// What is asked for; the two requests differ in instance_id alone.
typedef struct wanted {
  const char *account_id;
  const char *model_id;
  const char *platform_model;
  char *const *filesystem_ids;
  size_t n_filesystem_ids;
} wanted;

static eco_status check_wanted(const wanted *w) {
  if (w->account_id[0] == '\0') {
    return eco_error_param(ECO_INVALID_REQUEST, "account_id", "is needed");
  }
  if ((w->model_id[0] != '\0') == (w->platform_model[0] != '\0')) {
    return eco_error_param(ECO_INVALID_REQUEST, "model_id", "either model_id or platform_model is needed");
  }
  if (w->n_filesystem_ids > REGISTRY_ACQUIRE_FILESYSTEMS_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "filesystems", "at most %d filesystems can be mounted",
                           REGISTRY_ACQUIRE_FILESYSTEMS_MAX);
  }
  return eco_success();
}

static eco_status find_platform(eco_ctx *ctx, const char *name, Ecolink__V1__Model **out) {
  Ecolink__V1__PlatformModel *entry = NULL;
  ECO_TRY(registry_platform_find(ctx->tx, ctx->arena, name, &entry));
  if (entry == NULL) {
    return eco_error_param(ECO_NOT_FOUND, "platform_model", "there is no such platform model: see /platform/models");
  }
  Ecolink__V1__Model *model = eco_alloc(ctx->arena, sizeof *model);
  ecolink__v1__model__init(model);
  model->name = entry->name;
  model->source = ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_PLATFORM;
  model->repo = entry->repo;
  model->revision = entry->revision;
  model->category = entry->category;
  model->created_at = entry->created_at;
  *out = model;
  return eco_success();
}

static eco_status find_registered(eco_ctx *ctx, const wanted *w, registry_lock lock, Ecolink__V1__Model **out) {
  const registry_owned what = {w->account_id, w->model_id};
  bool foreign = false;
  ECO_TRY(registry_model_find(ctx->tx, ctx->arena, &what, lock, true, out, &foreign));
  if (foreign) {
    return eco_error_param(ECO_FORBIDDEN, "model_id", "this model belongs to another account");
  }
  return *out != NULL ? eco_success()
                      : eco_error_param(ECO_NOT_FOUND, "model_id", "there is no such model: register one at /models");
}

// Adds one filesystem, once however often it is named, and refuses mounts that would hide each other.
static eco_status add_filesystem(eco_ctx *ctx, const wanted *w, const char *id, registry_lock lock,
                                 Ecolink__V1__AcquireModelResponse *out) {
  for (size_t i = 0; i < out->n_filesystems; i++) {
    if (strcmp(out->filesystems[i]->id, id) == 0) {
      return eco_success();
    }
  }
  Ecolink__V1__Filesystem *fs = NULL;
  ECO_TRY(registry_filesystem_find(ctx->tx, ctx->arena, w->account_id, id, lock, &fs));
  if (fs == NULL) {
    return eco_error_param(ECO_NOT_FOUND, "filesystems", "this account has no filesystem %s", id);
  }
  for (size_t i = 0; i < out->n_filesystems; i++) {
    if (registry_mounts_overlap(out->filesystems[i]->mount_path, fs->mount_path)) {
      return eco_error_param(ECO_INVALID_REQUEST, "filesystems", "%s and %s are mounted in the same place (%s)",
                             out->filesystems[i]->name, fs->name, fs->mount_path);
    }
  }
  out->filesystems[out->n_filesystems++] = fs;
  return eco_success();
}

static eco_status describe(eco_ctx *ctx, const wanted *w, registry_lock lock, Ecolink__V1__AcquireModelResponse *out) {
  ECO_TRY(check_wanted(w));
  if (w->model_id[0] != '\0') {
    ECO_TRY(find_registered(ctx, w, lock, &out->model));
  } else {
    ECO_TRY(find_platform(ctx, w->platform_model, &out->model));
  }
  out->filesystems = eco_alloc_array(ctx->arena, w->n_filesystem_ids + 1, sizeof(Ecolink__V1__Filesystem *));
  out->n_filesystems = 0;
  if (out->model->filesystem_id[0] != '\0') {
    ECO_TRY(add_filesystem(ctx, w, out->model->filesystem_id, lock, out));
  }
  for (size_t i = 0; i < w->n_filesystem_ids; i++) {
    ECO_TRY(add_filesystem(ctx, w, w->filesystem_ids[i], lock, out));
  }
  return eco_success();
}

eco_status registry_rpc_describe_model(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__DescribeModelRequest *r = request;
  const wanted w = {r->account_id, r->model_id, r->platform_model, r->filesystem_ids, r->n_filesystem_ids};
  return describe(ctx, &w, REGISTRY_LOCK_NONE, reply);
}

// The share lock makes a deletion wait for this pin, or this call see the deletion.
eco_status registry_rpc_acquire_model(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__AcquireModelRequest *r = request;
  Ecolink__V1__AcquireModelResponse *out = reply;
  const wanted w = {r->account_id, r->model_id, r->platform_model, r->filesystem_ids, r->n_filesystem_ids};
  if (r->instance_id <= 0) {
    return eco_error_param(ECO_INVALID_REQUEST, "instance_id", "is needed");
  }
  ECO_TRY(describe(ctx, &w, REGISTRY_LOCK_SHARE, out));
  if (out->model->id[0] != '\0') {
    ECO_TRY(registry_pin_insert(ctx->tx, r->instance_id, out->model->id, ctx->now_us));
  }
  for (size_t i = 0; i < out->n_filesystems; i++) {
    ECO_TRY(registry_pin_insert(ctx->tx, r->instance_id, out->filesystems[i]->id, ctx->now_us));
  }
  return eco_success();
}

static bool is_terminal(Ecolink__V1__InstanceStatus status) {
  return status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED ||
         status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_FAILED;
}

eco_status registry_on_instance(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  (void)entity_id;
  const Ecolink__V1__InstanceState *s = state;
  if (s->instance == NULL || !is_terminal(s->instance->status)) {
    return eco_success();
  }
  int64_t released = 0;
  return registry_pin_release(ctx->tx, s->instance->id, &released);
}

// Releases what the scheduler says is over or was never there (a launch that was abandoned between the two calls).
static eco_status release_readings(eco_ctx *ctx, const Ecolink__V1__ReadMeterResponse *answer) {
  for (size_t i = 0; i < answer->n_readings; i++) {
    const Ecolink__V1__MeterReading *reading = answer->readings[i];
    if (reading->known && !is_terminal(reading->status)) {
      continue;
    }
    eco_tx *tx = NULL;
    int64_t released = 0;
    ECO_TRY(eco_tx_begin(ctx->db, &tx));
    eco_status st = registry_pin_release(tx, reading->instance_id, &released);
    if (!eco_ok(st)) {
      eco_tx_rollback(tx);
      return st;
    }
    ECO_TRY(eco_tx_commit(tx));
    ECO_CRASH_POINT("registry.pins.released");
    eco_log(ECO_LOG_INFO, "released what an ended instance still held", ECO_F_I64("instance", reading->instance_id),
            ECO_F_I64("pins", released), ECO_F_BOOL("known", reading->known));
  }
  return eco_success();
}

static eco_status old_pins(eco_ctx *ctx, int64_t after_id, int64_t **ids, size_t *n) {
  eco_tx *tx = NULL;
  const int64_t before_us = ctx->now_us - REGISTRY_PINS_MIN_AGE_S * INT64_C(1000000);
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = registry_pin_instances(tx, ctx->arena, after_id, before_us, REGISTRY_PINS_BATCH, ids, n);
  eco_tx_rollback(tx);
  return st;
}

eco_status registry_timer_pins(eco_ctx *ctx) {
  enum { METER_TIMEOUT_MS = 5000 };
  for (int64_t after_id = 0;;) {
    int64_t *ids = NULL;
    size_t n = 0;
    ECO_TRY(old_pins(ctx, after_id, &ids, &n));
    if (n == 0) {
      return eco_success();
    }
    Ecolink__V1__ReadMeterRequest request;
    Ecolink__V1__ReadMeterResponse *answer = NULL;
    ecolink__v1__read_meter_request__init(&request);
    request.n_queries = n;
    request.queries = eco_alloc_array(ctx->arena, n, sizeof *request.queries);
    for (size_t i = 0; i < n; i++) {
      request.queries[i] = eco_alloc(ctx->arena, sizeof **request.queries);
      ecolink__v1__meter_query__init(request.queries[i]);
      request.queries[i]->instance_id = ids[i];
      request.queries[i]->from_us = ctx->now_us;  // the status alone is wanted, not the intervals
    }
    ECO_TRY(eco_rpc_call(ctx, "scheduler.ReadMeter", &request.base, &ecolink__v1__read_meter_response__descriptor,
                         METER_TIMEOUT_MS, &answer));
    ECO_TRY(release_readings(ctx, answer));
    after_id = ids[n - 1];
  }
}

// The launch saga.
//
//   describe ─▶ place ─▶ admit ─▶ TX1 {row pending, reservations, route, idempotency} ─▶ AcquireModel ─▶ PlaceHold ─▶
//   TX2 {provisioning}
//                                  │ definite refusal: TX {discarded}, the refusal is the answer
//                                  └ no definite answer: CloseHold ─▶ TX {discarded}; 503 (recovery.c goes on where
//                                  this could not)
#include "launch.h"

#include <stdio.h>
#include <string.h>

#include "app.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/lists.h"
#include "ecolink/log.h"
#include "ecolink/v1/billing.pb-c.h"
#include "launch_rules.h"
#include "placement.h"
#include "publish.h"
#include "regions.h"
#include "spec.h"
#include "store.h"
#include "transition.h"

typedef struct launch {
  const Ecolink__V1__LaunchRequest *request;
  launch_config config;
  Ecolink__V1__AcquireModelResponse *model;
  const char *pinned_region;
  instance_row inst;
} launch;

static placement_request placement_request_of(const launch *l) {
  return (placement_request){.pinned_region = l->pinned_region,
                             .wanted = (const char *const *)l->request->regions,
                             .wanted_count = l->request->n_regions,
                             .gpu_type = l->request->gpu_type,
                             .gpu_count = l->config.gpu_count,
                             .allow_single_region = l->request->allow_single_region};
}

// Validates and asks the registry what the model is, without pinning it.
static eco_status describe(eco_ctx *ctx, launch *l) {
  ECO_TRY(launch_validate(l->request, (int)app.startup_deadline_s, (int)app.drain_default_s, &l->config));
  Ecolink__V1__DescribeModelRequest ask = ECOLINK__V1__DESCRIBE_MODEL_REQUEST__INIT;
  ask.account_id = eco_strdup(ctx->arena, ctx->caller.account_id);
  ask.model_id = l->request->model_id;
  ask.platform_model = l->request->platform_model;
  ask.n_filesystem_ids = l->request->n_filesystems;
  ask.filesystem_ids = l->request->filesystems;
  ECO_TRY(eco_rpc_call(ctx, "registry.DescribeModel", &ask.base, &ecolink__v1__acquire_model_response__descriptor,
                       SCHED_DESCRIBE_TIMEOUT_MS, &l->model));
  if (!l->model->model) {
    return eco_error(ECO_INTERNAL, "The registry described no model.");
  }
  l->pinned_region = "";
  if (l->model->model->source == ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_SHARED_FILESYSTEM) {
    if (l->model->n_filesystems == 0) {
      return eco_error(ECO_INTERNAL, "The registry named no filesystem for a model that lies on one.");
    }
    l->pinned_region = l->model->filesystems[0]->region;
  }
  return eco_success();
}

// The filesystems that a launch mounts must lie where it runs.
static eco_status check_mounts(const launch *l, const placement *p) {
  for (size_t i = 0; i < l->model->n_filesystems; i++) {
    const Ecolink__V1__Filesystem *fs = l->model->filesystems[i];
    for (size_t k = 0; k < p->replica_count; k++) {
      if (strcmp(fs->region, p->regions[k]) != 0) {
        return eco_error_param(
            ECO_INVALID_REQUEST, "filesystems",
            "Filesystem \"%.64s\" lies in region %.40s, a replica would run in %.40s: restrict regions to "
            "the filesystem's and set allow_single_region.",
            fs->name, fs->region, p->regions[k]);
      }
    }
  }
  return eco_success();
}

static void fill_instance(eco_ctx *ctx, launch *l, const placement *p) {
  const Ecolink__V1__LaunchRequest *r = l->request;
  instance_row *i = &l->inst;
  *i = (instance_row){.account_id = ctx->caller.account_id,
                      .name = *r->name ? r->name : l->model->model->name,
                      .served_name = l->model->model->name,
                      .model_id = r->model_id,
                      .platform_model = r->platform_model,
                      .category = l->model->model->category,
                      .status = ST_PENDING,
                      .launch_state = "open",
                      .idem_scope = ctx->idem_scope,
                      .openai_compatible = l->config.openai_compatible,
                      .custom_api_path = l->config.custom_api_path,
                      .engine = l->config.engine,
                      .image = l->config.image,
                      .health_path = l->config.health_path,
                      .lists_models = l->config.lists_models,
                      .gpu_type = p->gpu_type,
                      .gpu_count = l->config.gpu_count,
                      .total_replicas = (int)p->replica_count,
                      .hourly_rate_micros = p->hourly_rate_micros,
                      .startup_deadline_s = l->config.startup_deadline_s,
                      .drain_s = l->config.drain_s,
                      .generation = 1,
                      .created_at_us = ctx->now_us,
                      .replica_count = (int)p->replica_count};
  snprintf(i->detail, sizeof(i->detail), "accepted, placing the hold");
  for (int k = 0; k < i->replica_count; k++) {
    replica_row *rep = &i->replicas[k];
    *rep = (replica_row){.id = k + 1, .status = RS_PENDING, .generation = 1, .rolled = 1, .reserved = true};
    snprintf(rep->region, sizeof(rep->region), "%s", p->regions[k]);
    snprintf(rep->detail, sizeof(rep->detail), "waiting to be created");
  }
}

// Placement without locks: for a quote, and to know whom to ask whether it could run the launch at all.
static eco_status place(eco_ctx *ctx, eco_tx *tx, launch *l, store_lock lock) {
  placement_room *rooms = NULL;
  size_t n = 0;
  placement p;
  ECO_TRY(store_rooms(tx, ctx->arena, lock, &rooms, &n));
  placement_request ask = placement_request_of(l);
  ECO_TRY(placement_decide(&ask, rooms, n, &p));
  ECO_TRY(check_mounts(l, &p));
  fill_instance(ctx, l, &p);
  return eco_success();
}

static eco_status find_drivers(eco_ctx *ctx, eco_tx *tx, const launch *l, driver *drivers[SCHED_REPLICAS_MAX]) {
  for (int k = 0; k < l->inst.replica_count; k++) {
    region_row region;
    ECO_TRY(store_region_get(tx, ctx->arena, l->inst.replicas[k].region, &region));
    drivers[k] = app_driver(region.driver);
    if (!drivers[k]) {
      return eco_error(ECO_INSUFFICIENT_CAPACITY, "Region \"%s\" is run by the %s driver, which is not set up here.",
                       region.name, region.driver);
    }
  }
  return eco_success();
}

static eco_status admit(eco_ctx *ctx, const launch *l, driver *const drivers[SCHED_REPLICAS_MAX]) {
  for (int k = 0; k < l->inst.replica_count; k++) {
    replica_spec spec;
    ECO_TRY(spec_build(ctx->arena, l->request, l->model, &l->inst, &l->inst.replicas[k], false, &spec));
    ECO_TRY(drivers[k]->ops->admit(drivers[k], &spec));
  }
  return eco_success();
}

// Everything before the first commit.
static eco_status prepare(eco_ctx *ctx, launch *l) {
  driver *drivers[SCHED_REPLICAS_MAX] = {NULL};
  ECO_TRY(describe(ctx, l));
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = place(ctx, tx, l, STORE_READ);
  if (eco_ok(st)) {
    st = find_drivers(ctx, tx, l, drivers);
  }
  eco_tx_rollback(tx);
  ECO_TRY(st);
  return admit(ctx, l, drivers);
}

static const uint8_t *pack(eco_arena *arena, const ProtobufCMessage *m, size_t *len) {
  *len = protobuf_c_message_get_packed_size(m);
  uint8_t *bytes = eco_alloc(arena, *len + 1);
  protobuf_c_message_pack(m, bytes);
  return bytes;
}

// Where others than gateways might reach a replica, its engine asks for a token that they alone have.
static eco_status give_tokens(eco_ctx *ctx, eco_tx *tx, launch *l) {
  driver *drivers[SCHED_REPLICAS_MAX] = {NULL};
  ECO_TRY(find_drivers(ctx, tx, l, drivers));
  for (int k = 0; k < l->inst.replica_count; k++) {
    if (drivers[k]->ops->asks_tokens && launch_takes_token(l->config.preset, l->request)) {
      eco_id_new("rt", l->inst.replicas[k].token);
    }
  }
  return eco_success();
}

static eco_status intent(eco_ctx *ctx, eco_tx *tx, launch *l) {
  ECO_TRY(eco_idem_begin(ctx, tx));
  ECO_TRY(place(ctx, tx, l, STORE_LOCK));
  ECO_TRY(give_tokens(ctx, tx, l));
  for (int k = 0; k < l->inst.replica_count; k++) {
    ECO_TRY(store_room_reserve(tx, l->inst.replicas[k].region, l->inst.gpu_type, l->inst.gpu_count));
  }
  ECO_TRY(store_startup_estimate(tx, &l->inst, &l->inst.startup_estimate_s));
  instance_blobs blobs = {0};
  blobs.spec = pack(ctx->arena, &l->request->base, &blobs.spec_len);
  blobs.model = pack(ctx->arena, &l->model->base, &blobs.model_len);
  ECO_TRY(store_instance_insert(tx, &l->inst, &blobs, SCHED_LAUNCH_ANSWER_MS));
  Ecolink__V1__RouteEntry route = ECOLINK__V1__ROUTE_ENTRY__INIT;
  view_route(ctx->arena, &l->inst, ctx->now_us, &route);
  return eco_kv_publish(ctx, tx, "routes", instance_key(ctx->arena, l->inst.id), l->inst.version, &route.base);
}

static eco_status commit_intent(eco_ctx *ctx, launch *l) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = intent(ctx, tx, l);
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("scheduler.launch.intent_committed");
  return eco_success();
}

static eco_status acquire(eco_ctx *ctx, launch *l) {
  Ecolink__V1__AcquireModelRequest ask = ECOLINK__V1__ACQUIRE_MODEL_REQUEST__INIT;
  ask.account_id = eco_strdup(ctx->arena, ctx->caller.account_id);
  ask.instance_id = l->inst.id;
  ask.model_id = l->request->model_id;
  ask.platform_model = l->request->platform_model;
  ask.n_filesystem_ids = l->request->n_filesystems;
  ask.filesystem_ids = l->request->filesystems;
  ECO_TRY(eco_rpc_call(ctx, "registry.AcquireModel", &ask.base, &ecolink__v1__acquire_model_response__descriptor,
                       SCHED_ACQUIRE_TIMEOUT_MS, &l->model));
  ECO_CRASH_POINT("scheduler.launch.model_acquired");
  return eco_success();
}

static eco_status place_hold(eco_ctx *ctx, launch *l, Ecolink__V1__HoldState **hold) {
  Ecolink__V1__PlaceHoldRequest ask = ECOLINK__V1__PLACE_HOLD_REQUEST__INIT;
  ask.account_id = eco_strdup(ctx->arena, ctx->caller.account_id);
  ask.instance_id = l->inst.id;
  ask.cycle = 1;
  ask.rate_micros_per_gpu_hour = l->inst.hourly_rate_micros;
  ask.gpu_count = l->inst.gpu_count;
  ask.total_replicas = l->inst.total_replicas;
  ask.description = eco_sprintf(ctx->arena, "%s:%lld", l->inst.served_name, (long long)l->inst.id);
  Ecolink__V1__PlaceHoldResponse *answer = NULL;
  ECO_TRY(eco_rpc_call(ctx, "billing.PlaceHold", &ask.base, &ecolink__v1__place_hold_response__descriptor,
                       SCHED_HOLD_TIMEOUT_MS, &answer));
  ECO_CRASH_POINT("scheduler.launch.hold_placed");
  if (!answer->hold) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "Billing answered without a hold.");
  }
  *hold = answer->hold;
  return eco_success();
}

static eco_status outcome(eco_ctx *ctx, eco_tx *tx, launch *l, const Ecolink__V1__HoldState *hold,
                          Ecolink__V1__Instance *reply) {
  instance_row inst;
  ECO_TRY(store_instance_load(tx, ctx->arena, l->inst.id, STORE_LOCK, &inst));
  if (strcmp(inst.launch_state, "open") != 0) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "The launch took too long and is being undone: launch again.");
  }
  size_t model_len = 0;
  const uint8_t *model = pack(ctx->arena, &l->model->base, &model_len);
  ECO_TRY(store_instance_set_model(tx, inst.id, model, model_len));
  if (hold->cycle >= inst.hold_cycle) {
    inst.hold_cycle = hold->cycle;
    inst.hold_amount_micros = hold->amount_micros;
    inst.hold_expires_at_us = hold->expires_at_us;
  }
  transition_apply(&inst, EV_CONFIRMED, TR_NONE, ctx->now_us);
  snprintf(inst.launch_state, sizeof(inst.launch_state), "done");
  for (int k = 0; k < inst.replica_count; k++) {
    inst.replicas[k].dirty = true;
  }
  ECO_TRY(store_event_append(tx, &inst, ctx->now_us, "launch.accepted", 0,
                             eco_sprintf(ctx->arena, "Launch of %s:%lld accepted: %d replica%s with %d %s each.",
                                         inst.served_name, (long long)inst.id, inst.total_replicas,
                                         inst.total_replicas == 1 ? "" : "s", inst.gpu_count, inst.gpu_type)));
  ECO_TRY(store_event_append(tx, &inst, ctx->now_us, "hold.placed", 0, "The hold for the first cycle was placed."));
  const char *scope = inst.idem_scope;
  inst.idem_scope = "";
  ECO_TRY(instance_write(ctx, tx, &inst, instance_verb(&inst)));
  view_instance(ctx->arena, &inst, reply);
  return eco_idem_finish(tx, scope, eco_success(), &reply->base);
}

static eco_status commit_outcome(eco_ctx *ctx, launch *l, const Ecolink__V1__HoldState *hold,
                                 Ecolink__V1__Instance *reply) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  ctx->now_us = eco_now_us();
  eco_status st = outcome(ctx, tx, l, hold, reply);
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("scheduler.launch.outcome_committed");
  return eco_success();
}

static bool is_definite(eco_status st) {
  return !eco_code_is_transient(st.code) && st.code != ECO_INTERNAL;
}

// A final refusal before anything was written is kept for replay like any other answer.
static eco_status keep_refusal(eco_ctx *ctx, eco_status refusal) {
  if (!is_definite(refusal) || !*ctx->idem_scope || refusal.code == ECO_IN_PROGRESS ||
      refusal.code == ECO_IDEMPOTENCY_MISMATCH) {
    return refusal;
  }
  eco_tx *tx = NULL;
  if (!eco_ok(eco_tx_begin(ctx->db, &tx))) {
    return refusal;
  }
  eco_status st = eco_idem_begin(ctx, tx);
  if (eco_ok(st)) {
    st = eco_idem_finish(tx, ctx->idem_scope, refusal, NULL);
  }
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return refusal;
  }
  st = eco_tx_commit(tx);
  if (!eco_ok(st)) {
    eco_log(ECO_LOG_WARN, "a refusal could not be kept for replay", ECO_F_STATUS(st));
  }
  return refusal;
}

// Whether the launch has happened after all: a commit whose answer was lost. *reply is filled then.
static bool has_happened(eco_ctx *ctx, int64_t id, Ecolink__V1__Instance *reply) {
  eco_tx *tx = NULL;
  instance_row inst;
  if (!eco_ok(eco_tx_begin(ctx->db, &tx))) {
    return false;
  }
  bool done =
      eco_ok(store_instance_load(tx, ctx->arena, id, STORE_READ, &inst)) && strcmp(inst.launch_state, "done") == 0;
  if (done) {
    view_instance(ctx->arena, &inst, reply);
  }
  eco_tx_rollback(tx);
  return done;
}

// No definite answer: undo what can be undone now; the recovery goes on with the rest. What turns out to have happened
// is the answer, lest its owner pays for an instance that he does not know.
static eco_status give_up(eco_ctx *ctx, const launch *l, eco_status why, Ecolink__V1__Instance *reply) {
  eco_log(ECO_LOG_WARN, "launch has no definite answer: undoing it", ECO_F_I64("instance", l->inst.id),
          ECO_F_STATUS(why));
  eco_status st = launch_undo(ctx, l->inst.id);
  if (!eco_ok(st)) {
    eco_log(ECO_LOG_WARN, "launch could not be undone yet", ECO_F_I64("instance", l->inst.id), ECO_F_STATUS(st));
  } else if (has_happened(ctx, l->inst.id, reply)) {
    eco_log(ECO_LOG_INFO, "the launch had happened after all", ECO_F_I64("instance", l->inst.id));
    regions_wake();
    return eco_success();
  }
  return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE,
                   "The launch did not complete (%.200s). Nothing was charged: launch again.", why.message);
}

eco_status rpc_launch(eco_ctx *ctx, const void *request, void *reply) {
  launch l = {.request = request};
  eco_status st = prepare(ctx, &l);
  if (eco_ok(st)) {
    st = commit_intent(ctx, &l);
  }
  if (!eco_ok(st)) {
    return keep_refusal(ctx, st);
  }
  Ecolink__V1__HoldState *hold = NULL;
  st = acquire(ctx, &l);
  if (eco_ok(st)) {
    st = place_hold(ctx, &l, &hold);
  }
  if (!eco_ok(st) && is_definite(st)) {
    eco_status undone = launch_discard(ctx, l.inst.id, st);
    return eco_ok(undone) ? st : give_up(ctx, &l, undone, reply);
  }
  if (eco_ok(st)) {
    st = commit_outcome(ctx, &l, hold, reply);
  }
  if (!eco_ok(st)) {
    return give_up(ctx, &l, st, reply);
  }
  regions_wake();
  return st;
}

eco_status rpc_quote(eco_ctx *ctx, const void *request, void *reply) {
  launch l = {.request = request};
  Ecolink__V1__Quote *quote = reply;
  ECO_TRY(prepare(ctx, &l));
  int64_t hold = 0;
  if (!launch_hold_micros(l.inst.hourly_rate_micros, l.inst.gpu_count, l.inst.total_replicas, &hold)) {
    return eco_error(ECO_INTERNAL, "The price of this launch does not fit.");
  }
  quote->gpu_type = eco_strdup(ctx->arena, l.inst.gpu_type);
  quote->gpu_count = l.inst.gpu_count;
  quote->total_replicas = l.inst.total_replicas;
  quote->n_regions = (size_t)l.inst.replica_count;
  quote->regions = eco_alloc_array(ctx->arena, quote->n_regions, sizeof(*quote->regions));
  for (int k = 0; k < l.inst.replica_count; k++) {
    quote->regions[k] = eco_strdup(ctx->arena, l.inst.replicas[k].region);
  }
  quote->hourly_rate = eco_pb_money(ctx->arena, l.inst.hourly_rate_micros);
  quote->burn_rate_micros_per_hour = hold / 24;
  quote->hold = eco_pb_money(ctx->arena, hold);
  return eco_success();
}

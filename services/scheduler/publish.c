// Answers, events and routes made from rows.
#include "publish.h"

#include "app.h"
#include "ecolink/id.h"
#include "ecolink/lists.h"
#include "lifecycle.h"
#include "reconcile_rules.h"
#include "store.h"

const char *instance_key(eco_arena *arena, int64_t id) {
  return eco_sprintf(arena, "%lld", (long long)id);
}

static Ecolink__V1__Replica *view_replica(eco_arena *arena, const replica_row *r) {
  Ecolink__V1__Replica *out = eco_alloc(arena, sizeof(*out));
  ecolink__v1__replica__init(out);
  out->id = r->id;
  out->region = eco_strdup(arena, r->region);
  out->status = r->status;
  out->ready = r->ready;
  out->restarts = r->restarts;
  out->status_detail = eco_strdup(arena, r->detail);
  return out;
}

void view_instance(eco_arena *arena, const instance_row *inst, Ecolink__V1__Instance *out) {
  int ready = instance_ready_count(inst);
  out->id = inst->id;
  out->account_id = eco_strdup(arena, inst->account_id);
  out->name = eco_strdup(arena, inst->name);
  out->model = eco_sprintf(arena, "%s:%lld", inst->served_name, (long long)inst->id);
  out->model_id = eco_strdup(arena, inst->model_id);
  out->platform_model = eco_strdup(arena, inst->platform_model);
  out->status = inst->status;
  out->status_detail = eco_strdup(arena, inst->detail);
  out->termination_reason = inst->reason;
  out->openai_compatible = inst->openai_compatible;
  out->proxy_url = eco_sprintf(arena, "%s/inference-instances/%lld/proxy", app.public_url, (long long)inst->id);
  out->engine = eco_strdup(arena, inst->engine);
  out->image = eco_strdup(arena, inst->image);
  out->gpu_type = eco_strdup(arena, inst->gpu_type);
  out->gpu_count = inst->gpu_count;
  out->total_replicas = inst->total_replicas;
  out->ready_replicas = ready;
  out->n_replicas = (size_t)inst->replica_count;
  out->replicas = eco_alloc_array(arena, out->n_replicas + 1, sizeof(*out->replicas));
  for (int i = 0; i < inst->replica_count; i++) {
    out->replicas[i] = view_replica(arena, &inst->replicas[i]);
  }
  out->hourly_rate = eco_pb_money(arena, inst->hourly_rate_micros);
  out->burn_rate_micros_per_hour = inst->hourly_rate_micros * inst->gpu_count * ready;
  out->hold = eco_pb_money(arena, inst->hold_amount_micros);
  out->hold_expires_at = eco_pb_time_or_null(arena, inst->hold_expires_at_us);
  out->created_at = eco_pb_time(arena, inst->created_at_us);
  out->running_at = eco_pb_time_or_null(arena, inst->running_at_us);
  out->stop_requested_at = eco_pb_time_or_null(arena, inst->stop_requested_at_us);
  out->stopped_at = eco_pb_time_or_null(arena, inst->stopped_at_us);
  out->category = (Ecolink__V1__ModelCategory)inst->category;
}

void view_instance_state(eco_arena *arena, const instance_row *inst, Ecolink__V1__InstanceState *out) {
  out->instance = eco_alloc(arena, sizeof(*out->instance));
  ecolink__v1__instance__init(out->instance);
  view_instance(arena, inst, out->instance);
  out->hold_cycle = inst->hold_cycle;
}

void view_replica_state(eco_arena *arena, int64_t instance_id, const char *account_id, const char *health_path,
                        const replica_row *r, Ecolink__V1__ReplicaState *out) {
  out->instance_id = instance_id;
  out->replica_id = r->id;
  out->account_id = eco_strdup(arena, account_id);
  out->region = eco_strdup(arena, r->region);
  out->status = r->status;
  out->host = eco_strdup(arena, r->host);
  out->port = r->port;
  out->health_path = eco_strdup(arena, health_path);
  out->run_id = eco_strdup(arena, r->run_id);
  out->token = eco_strdup(arena, r->token);
  out->removed = r->gone;
}

void view_route(eco_arena *arena, const instance_row *inst, int64_t now_us, Ecolink__V1__RouteEntry *out) {
  out->instance_id = inst->id;
  out->account_id = eco_strdup(arena, inst->account_id);
  out->served_name = eco_strdup(arena, inst->served_name);
  out->model_id = eco_strdup(arena, inst->model_id);
  out->openai_compatible = inst->openai_compatible;
  out->custom_api_path = eco_strdup(arena, inst->custom_api_path);
  out->status = inst->status;
  out->status_detail = eco_strdup(arena, inst->detail);
  out->category = (Ecolink__V1__ModelCategory)inst->category;
  out->created_at_us = inst->created_at_us;
  if (inst->status != ST_RUNNING) {
    out->retry_after_s =
        retry_after_estimate(inst->startup_began_us ? inst->startup_began_us : inst->created_at_us, now_us);
  }
  out->replicas = eco_alloc_array(arena, SCHED_REPLICAS_MAX, sizeof(*out->replicas));
  for (int i = 0; i < inst->replica_count; i++) {
    const replica_row *r = &inst->replicas[i];
    if (!r->ready) {
      continue;
    }
    Ecolink__V1__RouteReplica *rr = eco_alloc(arena, sizeof(*rr));
    ecolink__v1__route_replica__init(rr);
    rr->replica_id = r->id;
    rr->region = eco_strdup(arena, r->region);
    rr->host = eco_strdup(arena, r->host);
    rr->run_id = eco_strdup(arena, r->run_id);
    rr->port = r->port;
    rr->token = eco_strdup(arena, r->token);
    out->replicas[out->n_replicas++] = rr;
  }
}

const char *instance_verb(const instance_row *inst) {
  return instance_status_word(inst->status);
}

static eco_status publish_replica(eco_ctx *ctx, eco_tx *tx, const instance_row *inst, const replica_row *r) {
  Ecolink__V1__ReplicaState state = ECOLINK__V1__REPLICA_STATE__INIT;
  view_replica_state(ctx->arena, inst->id, inst->account_id, inst->health_path, r, &state);
  const char *id = eco_sprintf(ctx->arena, "%lld-%d", (long long)inst->id, r->id);
  const char *type = r->gone ? "replica.removed" : (r->ready ? "replica.ready" : "replica.changed");
  return eco_event_publish(ctx, tx, type, id, r->version, &state.base);
}

static eco_status publish_route(eco_ctx *ctx, eco_tx *tx, const instance_row *inst, const char *key) {
  if (!instance_is_routed(inst)) {
    return eco_kv_publish(ctx, tx, "routes", key, inst->version, NULL);
  }
  Ecolink__V1__RouteEntry route = ECOLINK__V1__ROUTE_ENTRY__INIT;
  view_route(ctx->arena, inst, ctx->now_us, &route);
  return eco_kv_publish(ctx, tx, "routes", key, inst->version, &route.base);
}

eco_status instance_write(eco_ctx *ctx, eco_tx *tx, instance_row *inst, const char *verb) {
  bool changed[SCHED_REPLICAS_MAX] = {false};
  for (int i = 0; i < inst->replica_count; i++) {
    changed[i] = inst->replicas[i].dirty;
    if (changed[i]) {
      ECO_TRY(store_replica_save(tx, inst->id, &inst->replicas[i]));
    }
  }
  ECO_TRY(store_instance_save(tx, inst));
  const char *key = instance_key(ctx->arena, inst->id);
  // What is published is acknowledged one by one, in this order: users wait for the route.
  ECO_TRY(publish_route(ctx, tx, inst, key));
  for (int i = 0; verb && i < inst->replica_count; i++) {
    if (changed[i]) {
      ECO_TRY(publish_replica(ctx, tx, inst, &inst->replicas[i]));
    }
  }
  if (!verb) {
    return eco_success();
  }
  Ecolink__V1__InstanceState state = ECOLINK__V1__INSTANCE_STATE__INIT;
  view_instance_state(ctx->arena, inst, &state);
  return eco_event_publish(ctx, tx, eco_sprintf(ctx->arena, "instance.%s", verb), key, inst->version, &state.base);
}

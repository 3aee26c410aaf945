// Handlers: targets by the scheduler's word, reports by the gateways', and what people ask.
#include "handlers.h"

#include <inttypes.h>
#include <string.h>

#include "health_limits.h"
#include "store.h"

prober_settings health_config;

// Only what the scheduler holds Ready is probed: a replica that still loads would be condemned for it.
static bool is_probed(const Ecolink__V1__ReplicaState *s) {
  return !s->removed && s->status == ECOLINK__V1__REPLICA_STATUS__REPLICA_STATUS_READY && s->host[0] != '\0' &&
         s->port > 0;
}

static bool same_run(const health_target *known, const Ecolink__V1__ReplicaState *s) {
  return known->probed && strcmp(known->run_id, s->run_id) == 0 && strcmp(known->host, s->host) == 0 &&
         known->port == s->port;
}

// A new run, or one that is Ready again, starts without a verdict; that is told when there was one.
eco_status health_on_replica(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  const Ecolink__V1__ReplicaState *s = state;
  health_target *known = NULL;
  ECO_TRY(health_target_lock(ctx->tx, ctx->arena, entity_id, &known));
  bool probed = is_probed(s);
  if (known == NULL && !probed && s->removed) {
    return eco_success();
  }
  health_target t = {.id = entity_id,
                     .instance_id = s->instance_id,
                     .replica_id = s->replica_id,
                     .region = s->region,
                     .host = s->host,
                     .port = s->port,
                     .health_path = s->health_path,
                     .token = s->token,
                     .run_id = s->run_id,
                     .probed = probed,
                     .reason = "not yet judged",
                     .since_us = ctx->now_us,
                     .version = known != NULL ? known->version : 0};
  bool goes_on = known != NULL && probed && same_run(known, s);
  if (goes_on || (known != NULL && known->state == t.state)) {
    t.state = known->state;
    t.reason = known->reason;
    t.since_us = known->since_us;
    return health_target_put(ctx->tx, &t, s->account_id, s->removed ? ctx->now_us : 0);
  }
  bool told = known != NULL;
  t.version += told ? 1 : 0;
  ECO_TRY(health_target_put(ctx->tx, &t, s->account_id, s->removed ? ctx->now_us : 0));
  if (!told) {
    return eco_success();
  }
  ECO_TRY(health_change_insert(ctx->tx, &t));
  return eco_event_publish(ctx, ctx->tx, "replica.health_changed", t.id, t.version,
                           &health_message(ctx->arena, &t)->base);
}

eco_status health_on_upstream(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  (void)entity_id;
  const Ecolink__V1__UpstreamFailure *s = state;
  const char *id = eco_sprintf(ctx->arena, "%" PRId64 "-%" PRId32, s->instance_id, s->replica_id);
  return health_target_report(ctx->tx, id, s);
}

// Tenants see their own replicas, operators and services all.
eco_status health_rpc_get_status(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetHealthStatusRequest *r = request;
  Ecolink__V1__HealthStatus *out = reply;
  if (r->instance_id < 0) {
    return eco_error_param(ECO_INVALID_REQUEST, "instance_id", "must be the number of an instance");
  }
  const char *account = ctx->caller.account_id[0] != '\0' ? ctx->caller.account_id : NULL;
  return health_target_list(ctx->tx, ctx->arena, r->instance_id, account, false, &out->data, &out->n_data);
}

eco_status health_rpc_list_regions(eco_ctx *ctx, const void *request, void *reply) {
  (void)request;
  Ecolink__V1__RegionHealthList *out = reply;
  Ecolink__V1__ReplicaHealth **unhealthy = NULL;
  size_t n = 0;
  ECO_TRY(health_region_list(ctx->tx, ctx->arena, &out->data, &out->n_data));
  ECO_TRY(health_target_list(ctx->tx, ctx->arena, 0, NULL, true, &unhealthy, &n));
  for (size_t i = 0; i < out->n_data; i++) {
    Ecolink__V1__RegionHealth *region = out->data[i];
    region->interval_ms = (int32_t)health_config.interval_ms;
    region->unhealthy = eco_alloc_array(ctx->arena, n + 1, sizeof *region->unhealthy);
    for (size_t k = 0; k < n; k++) {
      if (strcmp(unhealthy[k]->region, region->region) == 0) {
        region->unhealthy[region->n_unhealthy++] = unhealthy[k];
      }
    }
  }
  return eco_success();
}

eco_status health_timer_sweep(eco_ctx *ctx) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = health_sweep(tx, ctx->now_us - HEALTH_HISTORY_DAYS * INT64_C(86400000000));
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  return eco_tx_commit(tx);
}

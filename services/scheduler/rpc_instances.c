// Reading instances and their events.
#include "rpc_instances.h"

#include "ecolink/lists.h"
#include "publish.h"
#include "stop.h"
#include "store.h"

eco_status rpc_get_instance(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetInstanceRequest *r = request;
  instance_row inst;
  ECO_TRY(instance_load_own(ctx, ctx->tx, r->id, false, &inst));
  view_instance(ctx->arena, &inst, reply);
  return eco_success();
}

eco_status rpc_list_instances(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListInstancesRequest *r = request;
  Ecolink__V1__InstanceList *out = reply;
  int32_t limit = 0;
  int64_t before = 0;
  ECO_TRY(eco_page_limit(r->limit, SCHED_LIST_DEFAULT, SCHED_LIST_MAX, &limit));
  ECO_TRY(eco_page_position(r->cursor, 0, &before));
  instance_row *list = NULL;
  size_t n = 0;
  ECO_TRY(store_instance_list(ctx->tx, ctx->arena, ctx->caller.account_id, before, r->status, limit + 1, &list, &n));
  bool more = n > (size_t)limit;
  n = more ? (size_t)limit : n;
  out->n_data = n;
  out->data = eco_alloc_array(ctx->arena, n + 1, sizeof(*out->data));
  for (size_t k = 0; k < n; k++) {
    out->data[k] = eco_alloc(ctx->arena, sizeof(*out->data[k]));
    ecolink__v1__instance__init(out->data[k]);
    view_instance(ctx->arena, &list[k], out->data[k]);
  }
  out->page = eco_pb_page(ctx->arena, more ? instance_key(ctx->arena, list[n - 1].id) : NULL);
  return eco_success();
}

eco_status rpc_list_events(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListInstanceEventsRequest *r = request;
  Ecolink__V1__InstanceEventList *out = reply;
  int32_t limit = 0;
  int64_t after = 0;
  instance_row inst;
  ECO_TRY(eco_page_limit(r->limit, SCHED_EVENTS_DEFAULT, SCHED_EVENTS_MAX, &limit));
  ECO_TRY(eco_page_position(r->cursor, 0, &after));
  ECO_TRY(instance_load_own(ctx, ctx->tx, r->id, false, &inst));
  event_row *list = NULL;
  size_t n = 0;
  ECO_TRY(store_event_list(ctx->tx, ctx->arena, &inst, after, limit + 1, &list, &n));
  bool more = n > (size_t)limit;
  n = more ? (size_t)limit : n;
  out->n_data = n;
  out->data = eco_alloc_array(ctx->arena, n + 1, sizeof(*out->data));
  for (size_t k = 0; k < n; k++) {
    Ecolink__V1__InstanceEvent *e = eco_alloc(ctx->arena, sizeof(*e));
    ecolink__v1__instance_event__init(e);
    e->id = list[k].seq;
    e->type = (char *)list[k].type;
    e->message = (char *)list[k].message;
    e->replica_id = list[k].replica_id;
    e->region = (char *)list[k].region;
    e->status = (Ecolink__V1__InstanceStatus)list[k].status;
    e->created_at = eco_pb_time(ctx->arena, list[k].created_at_us);
    out->data[k] = e;
  }
  // A follower goes on from the last event it has: the cursor is there even when nothing more is known yet.
  out->page = eco_pb_page(ctx->arena, NULL);
  out->page->has_more = more;
  out->page->next_cursor =
      n ? eco_sprintf(ctx->arena, "%lld", (long long)list[n - 1].seq) : eco_strdup(ctx->arena, r->cursor);
  return eco_success();
}

eco_status snapshot_instances(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink) {
  instance_row *list = NULL;
  size_t n = 0;
  ECO_TRY(store_instance_page(ctx->tx, ctx->arena, after_id, limit, &list, &n));
  for (size_t k = 0; k < n; k++) {
    Ecolink__V1__InstanceState state = ECOLINK__V1__INSTANCE_STATE__INIT;
    view_instance_state(ctx->arena, &list[k], &state);
    eco_snapshot_add(sink, instance_key(ctx->arena, list[k].id), list[k].version, &state.base);
  }
  return eco_success();
}

eco_status snapshot_replicas(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink) {
  replica_state_row *list = NULL;
  size_t n = 0;
  ECO_TRY(store_replica_page(ctx->tx, ctx->arena, after_id, limit, &list, &n));
  for (size_t k = 0; k < n; k++) {
    Ecolink__V1__ReplicaState state = ECOLINK__V1__REPLICA_STATE__INIT;
    const replica_row *r = &list[k].replica;
    view_replica_state(ctx->arena, list[k].instance_id, list[k].account_id, list[k].health_path, r, &state);
    eco_snapshot_add(sink, eco_sprintf(ctx->arena, "%lld-%d", (long long)list[k].instance_id, r->id), r->version,
                     &state.base);
  }
  return eco_success();
}

eco_status routes_source(eco_ctx *ctx, eco_kv_sink *sink) {
  instance_row *list = NULL;
  size_t n = 0;
  ECO_TRY(store_instance_routed(ctx->tx, ctx->arena, &list, &n));
  for (size_t k = 0; k < n; k++) {
    Ecolink__V1__RouteEntry *route = eco_alloc(ctx->arena, sizeof(*route));  // packed after we return
    ecolink__v1__route_entry__init(route);
    view_route(ctx->arena, &list[k], ctx->now_us, route);
    eco_kv_add(sink, instance_key(ctx->arena, list[k].id), list[k].version, &route->base);
  }
  return eco_success();
}

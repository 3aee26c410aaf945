// Reading instances: one, many, their events, their logs; the snapshots and the routes' source.
#ifndef SCHEDULER_RPC_INSTANCES_H
#define SCHEDULER_RPC_INSTANCES_H

#include "ecolink/service.h"

eco_status rpc_get_instance(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_list_instances(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_list_events(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_read_logs(eco_ctx *ctx, const void *request, void *reply);
eco_status snapshot_instances(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink);
eco_status snapshot_replicas(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink);
eco_status routes_source(eco_ctx *ctx, eco_kv_sink *sink);

#endif

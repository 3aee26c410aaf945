// Regions, GPU types, prices and capacity: what operators set and everybody may read.
#ifndef SCHEDULER_RPC_REGIONS_H
#define SCHEDULER_RPC_REGIONS_H

#include "ecolink/service.h"

eco_status rpc_put_region(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_get_region(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_list_regions(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_delete_region(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_put_gpu_type(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_get_gpu_type(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_list_gpu_types(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_delete_gpu_type(eco_ctx *ctx, const void *request, void *reply);
// Applies SEED_FILE: creates the regions and GPU types that are absent, changes none that exist.
ECO_CHECKED eco_status seed_apply(eco_db *db, const char *path);

#endif

// The health service's handlers, by the tables in main.c.
#ifndef HEALTH_HANDLERS_H
#define HEALTH_HANDLERS_H

#include "ecolink/service.h"
#include "prober.h"

extern prober_settings health_config;

eco_status health_rpc_get_status(eco_ctx *ctx, const void *request, void *reply);
eco_status health_rpc_list_regions(eco_ctx *ctx, const void *request, void *reply);
eco_status health_on_replica(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);
eco_status health_on_upstream(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);
eco_status health_timer_sweep(eco_ctx *ctx);

#endif

// Everything that the service's tables name: RPC handlers, consumers, timers. Signatures are the kit's.
#ifndef BILLING_HANDLERS_H
#define BILLING_HANDLERS_H

#include "ecolink/service.h"

// rpc_hold.c: between services
eco_status rpc_place_hold(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_close_hold(eco_ctx *ctx, const void *request, void *reply);
// rpc_read.c: what customers read
eco_status rpc_get_balance(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_list_transactions(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_get_usage(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_list_notices(eco_ctx *ctx, const void *request, void *reply);
// rpc_operator.c: what operators do
eco_status rpc_top_up(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_create_correction(eco_ctx *ctx, const void *request, void *reply);
eco_status rpc_approve_correction(eco_ctx *ctx, const void *request, void *reply);
// consume.c
eco_status consume_account(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);
eco_status consume_instance(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);
eco_status consume_usage(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);
// worker.c, notifier.c
eco_status timer_cycles(eco_ctx *ctx);
eco_status timer_notices(eco_ctx *ctx);

#endif

// The registry's handlers, by the tables in main.c. Each is called by the kit on a worker thread with the message's
// ctx.
#ifndef REGISTRY_HANDLERS_H
#define REGISTRY_HANDLERS_H

#include "ecolink/service.h"
#include "keys.h"
#include "pages.h"

// Settings that handlers read.
typedef struct registry_settings {
  const char *bootstrap_key;
  const char *hub_url;  // "": the Hub is never asked
  int64_t hub_timeout_ms;
} registry_settings;
extern registry_settings registry_config;

// RPC
eco_status registry_rpc_create_account(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_get_account(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_list_accounts(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_create_operator(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_list_operators(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_create_model(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_get_model(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_list_models(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_delete_model(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_create_filesystem(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_get_filesystem(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_list_filesystems(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_delete_filesystem(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_create_api_key(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_get_api_key(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_list_api_keys(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_revoke_api_key(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_list_members(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_delete_member(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_create_invite(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_accept_invite(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_put_platform_model(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_get_platform_model(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_list_platform_models(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_delete_platform_model(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_acquire_model(eco_ctx *ctx, const void *request, void *reply);
eco_status registry_rpc_describe_model(eco_ctx *ctx, const void *request, void *reply);

// Events consumed
eco_status registry_on_instance(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);
eco_status registry_on_usage(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);

// Snapshots and the bucket `keys`
eco_status registry_snapshot_accounts(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink);
eco_status registry_snapshot_keys(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink);
eco_status registry_snapshot_models(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink);
eco_status registry_kv_keys(eco_ctx *ctx, eco_kv_sink *sink);

// Timers
eco_status registry_timer_bootstrap(eco_ctx *ctx);
eco_status registry_timer_pins(eco_ctx *ctx);
bool registry_bootstrap_ready(eco_service *svc, eco_buf *why);

// Shared by handlers: a key's row changed in ctx->tx, tell the bus (event `type` and the bucket). The row is locked or
// new.
ECO_CHECKED eco_status registry_key_announce(eco_ctx *ctx, eco_tx *tx, const char *type, const registry_key *key);
// Inserts `key` (id, prefix, hash and times are filled here) and announces it; *secret is the key itself, in the arena.
ECO_CHECKED eco_status registry_key_issue(eco_ctx *ctx, eco_tx *tx, registry_key *key, const char **secret);
// UNAUTHORIZED when the caller's own key is revoked: gateways may take up to a second to hear of it, and nobody whose
// access has ended may hand out new access in that second. Called with the account locked.
ECO_CHECKED eco_status registry_caller_check(eco_ctx *ctx);
// Cuts the row that tells of a next page off a list; returns the page's info for `n` rows read with limit + 1.
Ecolink__V1__PageInfo *registry_page_info(eco_arena *arena, const registry_page *page, size_t *n);
// Sets has_more's cursor from the last row shown.
void registry_page_cursor(eco_arena *arena, Ecolink__V1__PageInfo *info, int64_t created_at_us, const char *id);
char *registry_new_id(eco_arena *arena, const char *prefix);

#endif

// Handlers of API keys.
#include "ecolink/log.h"
#include "handlers.h"
#include "registry_limits.h"
#include "store.h"

#define BUCKET_KEYS "keys"

eco_status registry_key_announce(eco_ctx *ctx, eco_tx *tx, const char *type, const registry_key *key) {
  const Ecolink__V1__ApiKey *state = registry_key_message(ctx->arena, key, NULL);
  const Ecolink__V1__KeyEntry *entry = registry_key_entry(ctx->arena, key);
  ECO_TRY(eco_event_publish(ctx, tx, type, key->id, key->version, &state->base));
  return eco_kv_publish(ctx, tx, BUCKET_KEYS, key->sha256_hex, key->version, &entry->base);
}

eco_status registry_key_issue(eco_ctx *ctx, eco_tx *tx, registry_key *key, const char **secret) {
  char minted[ECO_API_KEY_LEN + 1];
  registry_key_mint(ctx->arena, key, minted);
  key->id = registry_new_id(ctx->arena, "key");
  key->created_at_us = ctx->now_us;
  key->version = 1;
  bool taken = false;
  ECO_TRY(registry_key_insert(tx, key, &taken));
  if (taken) {
    return eco_error(ECO_INTERNAL, "the random generator repeated a key");
  }
  *secret = eco_strdup(ctx->arena, minted);
  return registry_key_announce(ctx, tx, "key.created", key);
}

eco_status registry_caller_check(eco_ctx *ctx) {
  registry_key *own = NULL;
  ECO_TRY(registry_key_find(ctx->tx, ctx->arena, ctx->caller.account_id, ctx->caller.key_id, false, &own));
  if (own != NULL && own->revoked_at_us != 0) {
    return eco_error(ECO_UNAUTHORIZED, "this API key is revoked");
  }
  return eco_success();
}

eco_status registry_rpc_create_api_key(eco_ctx *ctx, const void *request, void *reply) {
  registry_key key;
  ECO_TRY(registry_key_from_request(request, ctx->now_us, &key));
  key.account_id = ctx->caller.account_id;
  key.member_id = ctx->caller.member_id;
  int64_t live = 0;
  ECO_TRY(registry_account_lock(ctx->tx, key.account_id));
  ECO_TRY(registry_caller_check(ctx));
  ECO_TRY(registry_key_count(ctx->tx, key.account_id, &live));
  if (live >= REGISTRY_ACCOUNT_KEYS_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "an account holds at most %d live keys: revoke one first",
                     REGISTRY_ACCOUNT_KEYS_MAX);
  }
  const char *secret = NULL;
  ECO_TRY(registry_key_issue(ctx, ctx->tx, &key, &secret));
  *(Ecolink__V1__ApiKey *)reply = *registry_key_message(ctx->arena, &key, secret);
  return eco_success();
}

static eco_status find_key(eco_ctx *ctx, const char *id, bool lock, registry_key **out) {
  ECO_TRY(registry_key_find(ctx->tx, ctx->arena, ctx->caller.account_id, id, lock, out));
  if (*out == NULL) {
    return eco_error_param(ECO_NOT_FOUND, "id", "this account has no such key");
  }
  return eco_success();
}

eco_status registry_rpc_get_api_key(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetApiKeyRequest *r = request;
  registry_key *key = NULL;
  ECO_TRY(find_key(ctx, r->id, false, &key));
  *(Ecolink__V1__ApiKey *)reply = *registry_key_message(ctx->arena, key, NULL);
  return eco_success();
}

eco_status registry_rpc_list_api_keys(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListApiKeysRequest *r = request;
  Ecolink__V1__ApiKeyList *out = reply;
  registry_page page;
  registry_keys found;
  ECO_TRY(registry_page_parse(r->limit, r->cursor, &page));
  ECO_TRY(registry_key_list(ctx->tx, ctx->arena, ctx->caller.account_id, &page, &found));
  out->page = registry_page_info(ctx->arena, &page, &found.n);
  out->n_data = found.n;
  out->data = eco_alloc_array(ctx->arena, found.n + 1, sizeof *out->data);
  for (size_t i = 0; i < found.n; i++) {
    out->data[i] = registry_key_message(ctx->arena, &found.data[i], NULL);
  }
  if (out->page->has_more) {
    const registry_key *last = &found.data[found.n - 1];
    registry_page_cursor(ctx->arena, out->page, last->created_at_us, last->id);
  }
  return eco_success();
}

// Revoking what is revoked changes nothing and succeeds: whoever asks gets the state he asked for.
eco_status registry_rpc_revoke_api_key(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__RevokeApiKeyRequest *r = request;
  registry_key *key = NULL;
  ECO_TRY(find_key(ctx, r->id, true, &key));
  if (key->revoked_at_us == 0) {
    ECO_TRY(registry_key_revoke(ctx->tx, key, ctx->now_us));
    ECO_TRY(registry_key_announce(ctx, ctx->tx, "key.revoked", key));
  }
  *(Ecolink__V1__ApiKey *)reply = *registry_key_message(ctx->arena, key, NULL);
  return eco_success();
}

// What others learn from the registry without asking each time (snapshots, the bucket `keys`), and what it learns of
// usage.
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/v1/gateway.pb-c.h"
#include "handlers.h"
#include "registry_limits.h"
#include "store.h"

eco_status registry_snapshot_accounts(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink) {
  registry_accounts found;
  ECO_TRY(registry_account_after(ctx->tx, ctx->arena, after_id, limit, &found));
  for (size_t i = 0; i < found.n; i++) {
    eco_snapshot_add(sink, found.data[i]->id, found.versions[i], &found.data[i]->base);
  }
  return eco_success();
}

eco_status registry_snapshot_keys(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink) {
  registry_keys found;
  ECO_TRY(registry_key_after(ctx->tx, ctx->arena, after_id, limit, &found));
  for (size_t i = 0; i < found.n; i++) {
    const registry_key *key = &found.data[i];
    eco_snapshot_add(sink, key->id, key->version, &registry_key_message(ctx->arena, key, NULL)->base);
  }
  return eco_success();
}

eco_status registry_snapshot_models(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink) {
  registry_models found;
  ECO_TRY(registry_model_after(ctx->tx, ctx->arena, after_id, limit, &found));
  for (size_t i = 0; i < found.n; i++) {
    found.data[i]->live_instances = 0;  // as in the events: no state of the model
    eco_snapshot_add(sink, found.data[i]->id, found.versions[i], &found.data[i]->base);
  }
  return eco_success();
}

eco_status registry_kv_keys(eco_ctx *ctx, eco_kv_sink *sink) {
  enum { PAGE = 1000 };
  const char *after_id = "";
  for (;;) {
    registry_keys found;
    ECO_TRY(registry_key_after(ctx->tx, ctx->arena, after_id, PAGE, &found));
    for (size_t i = 0; i < found.n; i++) {
      const registry_key *key = &found.data[i];
      if (registry_key_is_listed(key, ctx->now_us)) {
        eco_kv_add(sink, key->sha256_hex, key->version, &registry_key_entry(ctx->arena, key)->base);
      }
      after_id = key->id;
    }
    if (found.n < PAGE) {
      return eco_success();
    }
  }
}

typedef struct use {
  const char *key_id;
  int64_t at_us;
} use;

// By key, the latest first.
static int compare_use(const void *a, const void *b) {
  const use *x = a;
  const use *y = b;
  int order = strcmp(x->key_id, y->key_id);
  return order != 0 ? order : (x->at_us < y->at_us) - (x->at_us > y->at_us);
}

// One statement a batch, one row a key, in the order of the ids so that two batches never wait for each other in a
// ring.
eco_status registry_on_usage(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  (void)entity_id;
  const Ecolink__V1__UsageBatch *batch = state;
  use *uses = eco_alloc_array(ctx->arena, batch->n_records + 1, sizeof *uses);
  size_t n = 0;
  for (size_t i = 0; i < batch->n_records; i++) {
    const Ecolink__V1__UsageRecord *record = batch->records[i];
    if (eco_id_is(record->key_id, "key") && record->minute_us > 0 && record->minute_us <= ctx->now_us) {
      uses[n++] = (use){record->key_id, record->minute_us};
    }
  }
  qsort(uses, n, sizeof *uses, compare_use);
  const char **ids = eco_alloc_array(ctx->arena, n + 1, sizeof *ids);
  int64_t *times = eco_alloc_array(ctx->arena, n + 1, sizeof *times);
  size_t keys = 0;
  for (size_t i = 0; i < n; i++) {
    if (i == 0 || strcmp(uses[i].key_id, uses[i - 1].key_id) != 0) {
      ids[keys] = uses[i].key_id;
      times[keys++] = uses[i].at_us;
    }
  }
  return registry_key_touch(ctx->tx, ctx->arena, ids, times, keys);
}

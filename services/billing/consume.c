// What billing learns from the others.
#include <inttypes.h>

#include "ecolink/clock.h"
#include "ecolink/id.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "handlers.h"
#include "publish.h"

#define DAY_US (INT64_C(86400) * ECO_US_PER_S)

eco_status consume_account(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  const Ecolink__V1__Account *a = state;
  if (!eco_id_is(entity_id, "acc")) {
    return eco_error(ECO_INVALID_REQUEST, "account event for '%s': no account's id", entity_id);
  }
  bool created;
  ECO_TRY(store_account_ensure(ctx, ctx->tx, entity_id, a->name, &created));
  if (!created) {
    return eco_success();
  }
  store_account account;
  ECO_TRY(store_account_lock(ctx, ctx->tx, entity_id, &account));
  return publish_balance(ctx, ctx->tx, &account);
}

eco_status consume_instance(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  const Ecolink__V1__Instance *i = ((const Ecolink__V1__InstanceState *)state)->instance;
  if (i == NULL || i->id <= 0 || !eco_id_is(i->account_id, "acc")) {
    return eco_error(ECO_INVALID_REQUEST, "instance event for '%s' names no instance and account", entity_id);
  }
  return store_instance_seen(ctx, ctx->tx, i->id, i->account_id, i->model, (int)i->status, i->ready_replicas);
}

static bool record_sane(const Ecolink__V1__UsageRecord *r) {
  return r->account_id[0] != '\0' && r->instance_id >= 0 && r->minute_us >= 0 && r->requests >= 0 && r->errors >= 0 &&
         r->prompt_tokens >= 0 && r->completion_tokens >= 0 && r->bytes_in >= 0 && r->bytes_out >= 0 &&
         r->time_to_first_byte_us_sum >= 0;
}

// Exactly once by the kit's inbox. A batch is counted whole or, when a record of it is impossible, not at all.
eco_status consume_usage(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  const Ecolink__V1__UsageBatch *batch = state;
  for (size_t i = 0; i < batch->n_records; i++) {
    const Ecolink__V1__UsageRecord *r = batch->records[i];
    if (!record_sane(r)) {
      return eco_error(ECO_INVALID_REQUEST, "usage batch '%s': record %zu is impossible", entity_id, i);
    }
    ECO_TRY(store_usage_add(ctx->tx, r, r->minute_us / DAY_US));
  }
  return eco_success();
}

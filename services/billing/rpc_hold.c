// PlaceHold and CloseHold, for the scheduler's launch saga. Both are safe to repeat; a CloseHold that comes first wins.
#include <inttypes.h>
#include <string.h>

#include "billing_limits.h"
#include "ecolink/id.h"
#include "handlers.h"
#include "holds.h"
#include "notice.h"
#include "publish.h"
#include "settings.h"

static eco_status check_ids(const char *account_id, int64_t instance_id, int64_t cycle) {
  if (!eco_id_is(account_id, "acc")) {
    return eco_error_param(ECO_INVALID_REQUEST, "account_id", "account_id is no account's id");
  }
  if (instance_id <= 0) {
    return eco_error_param(ECO_INVALID_REQUEST, "instance_id", "instance_id must be positive");
  }
  if (cycle <= 0) {
    return eco_error_param(ECO_INVALID_REQUEST, "cycle", "cycle must be positive");
  }
  return eco_success();
}

static eco_status check_terms(const Ecolink__V1__PlaceHoldRequest *r) {
  if (r->rate_micros_per_gpu_hour < 0 || r->rate_micros_per_gpu_hour > BILLING_RATE_MAX_MICROS) {
    return eco_error_param(ECO_INVALID_REQUEST, "rate_micros_per_gpu_hour", "the rate is out of range");
  }
  if (r->gpu_count < 1 || r->gpu_count > BILLING_GPUS_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "gpu_count", "gpu_count must be 1 to %d", BILLING_GPUS_MAX);
  }
  if (r->total_replicas < 1 || r->total_replicas > BILLING_REPLICAS_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "total_replicas", "total_replicas must be 1 to %d",
                           BILLING_REPLICAS_MAX);
  }
  if (strlen(r->description) > BILLING_DESCRIPTION_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "description", "the description is longer than %d bytes",
                           BILLING_DESCRIPTION_MAX);
  }
  return eco_success();
}

// The account's lock, with a wallet made where none is: a launch may overtake the account's own event.
static eco_status lock_account(eco_ctx *ctx, const char *account_id, store_account *account) {
  bool created;
  ECO_TRY(store_account_ensure(ctx, ctx->tx, account_id, NULL, &created));
  ECO_TRY(store_account_lock(ctx, ctx->tx, account_id, account));
  return created ? publish_balance(ctx, ctx->tx, account) : eco_success();
}

// An answer to a hold that is there already. A closed one bars the launch for good.
static eco_status answer_known(const Ecolink__V1__HoldState *known) {
  if (known->status == ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_CLOSED) {
    return eco_error(ECO_WRONG_STATE, "the hold of instance %" PRId64 " was closed: the launch has been given up",
                     known->instance_id);
  }
  return eco_success();
}

static eco_status place_first(eco_ctx *ctx, store_account *account, const Ecolink__V1__PlaceHoldRequest *r,
                              Ecolink__V1__HoldState **out) {
  store_terms terms = {
      .instance_id = r->instance_id,
      .account_id = account->id,
      .model = r->description,
      .terms = {r->rate_micros_per_gpu_hour, r->gpu_count, r->total_replicas},
  };
  int64_t full;
  if (!cycle_full_hold(&terms.terms, billing_set.cycle_s, &full) || full > BILLING_AMOUNT_MAX_MICROS) {
    return eco_error(ECO_INVALID_REQUEST, "the hold of this launch leaves the range of amounts");
  }
  if (account->available_micros < full) {
    char text[NOTICE_TEXT_MAX];
    notice_insufficient_text(full, account->available_micros, text);
    return eco_error(ECO_INSUFFICIENT_BALANCE, "%s", text);
  }
  ECO_TRY(store_instance_set_terms(ctx, ctx->tx, &terms));
  holds_placement placement = {
      .instance_id = r->instance_id,
      .cycle = 1,
      .model = r->description,
      .started_at_us = ctx->now_us,
      .next = {CYCLE_NEXT_FULL, full, ctx->now_us + billing_set.cycle_s * CYCLE_US_PER_S},
  };
  return holds_place(ctx, ctx->tx, account, &placement, out);
}

eco_status rpc_place_hold(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__PlaceHoldRequest *r = request;
  Ecolink__V1__PlaceHoldResponse *out = reply;
  ECO_TRY(check_ids(r->account_id, r->instance_id, r->cycle));
  ECO_TRY(check_terms(r));
  store_account account;
  ECO_TRY(lock_account(ctx, r->account_id, &account));
  ECO_TRY(store_instance_ensure(ctx, ctx->tx, r->instance_id, r->account_id));
  Ecolink__V1__HoldState *known;
  ECO_TRY(store_hold_find(ctx, ctx->tx, r->instance_id, r->cycle, &known));
  if (known != NULL) {
    out->hold = known;
    return answer_known(known);
  }
  if (r->cycle != 1) {
    return eco_error_param(ECO_INVALID_REQUEST, "cycle", "cycles after the first are placed by billing itself");
  }
  ECO_TRY(place_first(ctx, &account, r, &out->hold));
  return publish_balance(ctx, ctx->tx, &account);
}

// Closes the instance's open hold of this cycle, or of one that followed it: a launch whose first cycle has ended
// before it was given up has been renewed meanwhile.
static eco_status close_open(eco_ctx *ctx, store_account *account, int64_t instance_id, int64_t cycle) {
  store_hold *holds;
  size_t count;
  ECO_TRY(store_holds_open(ctx, ctx->tx, account->id, &holds, &count));
  for (size_t i = 0; i < count; i++) {
    if (holds[i].instance_id == instance_id && holds[i].cycle >= cycle) {
      ECO_TRY(holds_close(ctx, ctx->tx, account, &holds[i]));
      return publish_balance(ctx, ctx->tx, account);  // an instance has one open hold at most
    }
  }
  return eco_success();
}

eco_status rpc_close_hold(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__CloseHoldRequest *r = request;
  Ecolink__V1__CloseHoldResponse *out = reply;
  ECO_TRY(check_ids(r->account_id, r->instance_id, r->cycle));
  store_account account;
  ECO_TRY(lock_account(ctx, r->account_id, &account));
  ECO_TRY(store_instance_ensure(ctx, ctx->tx, r->instance_id, r->account_id));
  Ecolink__V1__HoldState *known;
  ECO_TRY(store_hold_find(ctx, ctx->tx, r->instance_id, r->cycle, &known));
  if (known == NULL) {
    return holds_bar(ctx, ctx->tx, account.id, r->instance_id, r->cycle, &out->hold);
  }
  ECO_TRY(close_open(ctx, &account, r->instance_id, r->cycle));
  return store_hold_find(ctx, ctx->tx, r->instance_id, r->cycle, &out->hold);  // it has ended, now or before
}

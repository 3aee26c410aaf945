// What operators do with money: top-ups, and corrections that a second operator approves.
#include <inttypes.h>
#include <string.h>

#include "billing_limits.h"
#include "ecolink/crash.h"
#include "ecolink/id.h"
#include "ecolink/lists.h"
#include "ecolink/money.h"
#include "ecolink/v1/registry.pb-c.h"
#include "handlers.h"
#include "publish.h"

static eco_status check_top_up(const Ecolink__V1__TopUpRequest *r) {
  if (r->amount == NULL || r->amount->micros <= 0 || r->amount->micros > BILLING_AMOUNT_MAX_MICROS) {
    return eco_error_param(ECO_INVALID_REQUEST, "amount", "amount must be more than 0 and at most 1000000000 dollars");
  }
  if (strlen(r->description) > BILLING_DESCRIPTION_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "description", "the description is longer than %d bytes",
                           BILLING_DESCRIPTION_MAX);
  }
  if (!eco_id_is(r->account_id, "acc")) {
    return eco_error(ECO_NOT_FOUND, "no such account");
  }
  return eco_success();
}

// An account that billing has not heard of may be minutes or milliseconds old: its owner, the registry, decides.
static eco_status account_known(eco_ctx *ctx, const char *account_id, const char **name_out) {
  bool exists = false;
  eco_tx *tx;
  *name_out = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_account_exists(tx, account_id, &exists);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  if (exists) {
    return eco_success();
  }
  Ecolink__V1__GetAccountRequest ask = ECOLINK__V1__GET_ACCOUNT_REQUEST__INIT;
  ask.id = (char *)account_id;
  Ecolink__V1__Account *account;
  ECO_TRY(eco_rpc_call(ctx, "registry.GetAccount", &ask.base, &ecolink__v1__account__descriptor,
                       BILLING_REGISTRY_TIMEOUT_MS, &account));
  ECO_CRASH_POINT("billing.topup.account_asked");
  *name_out = account->name;
  return eco_success();
}

static eco_status book_top_up(eco_ctx *ctx, eco_tx *tx, const Ecolink__V1__TopUpRequest *r, const char *name,
                              Ecolink__V1__Transaction **booked) {
  ECO_TRY(eco_idem_begin(ctx, tx));
  bool created;
  store_account account;
  ECO_TRY(store_account_ensure(ctx, tx, r->account_id, name, &created));
  ECO_TRY(store_account_lock(ctx, tx, r->account_id, &account));
  if (r->amount->micros > INT64_MAX / 2 - account.available_micros) {
    return eco_error_param(ECO_INVALID_REQUEST, "amount", "the balance would leave the range of amounts");
  }
  char key[ECO_ID_MAX];
  eco_id_new("top", key);  // the idempotency record, not this key, tells a repeated request
  store_booking booking = {
      .key = eco_sprintf(ctx->arena, "topup:%s", key),
      .kind = "topup",
      .created_by = ctx->caller.operator_id,
      .description = r->description[0] != '\0' ? r->description : "Top-up",
      .posting = ledger_topup(r->amount->micros),
  };
  ECO_TRY(store_book(ctx, tx, &account, &booking, booked));
  if (*booked == NULL) {
    return eco_error(ECO_INTERNAL, "a top-up booked nothing");
  }
  ECO_TRY(publish_balance(ctx, tx, &account));
  return eco_idem_finish(tx, ctx->idem_scope, eco_success(), &(*booked)->base);
}

eco_status rpc_top_up(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__TopUpRequest *r = request;
  const char *name;
  ECO_TRY(check_top_up(r));
  ECO_TRY(account_known(ctx, r->account_id, &name));
  eco_tx *tx;
  Ecolink__V1__Transaction *booked = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = book_top_up(ctx, tx, r, name, &booked);
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("billing.topup.committed");
  if (booked != NULL) {
    *(Ecolink__V1__Transaction *)reply = *booked;
  }
  return eco_success();
}

eco_status rpc_create_correction(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__CreateCorrectionRequest *r = request;
  Ecolink__V1__Correction *out = reply;
  if (r->amount == NULL || r->amount->micros == 0 || r->amount->micros > BILLING_AMOUNT_MAX_MICROS ||
      r->amount->micros < -BILLING_AMOUNT_MAX_MICROS) {
    return eco_error_param(ECO_INVALID_REQUEST, "amount", "amount must not be 0 and at most 1000000000 dollars");
  }
  if (r->reason[0] == '\0' || strlen(r->reason) > BILLING_REASON_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "reason", "a correction needs a reason of at most %d bytes",
                           BILLING_REASON_MAX);
  }
  bool exists;
  ECO_TRY(store_account_exists(ctx->tx, r->account_id, &exists));
  if (!exists) {
    return eco_error(ECO_NOT_FOUND, "no such account");
  }
  char id[ECO_ID_MAX];
  eco_id_new("cor", id);
  out->id = eco_strdup(ctx->arena, id);
  out->account_id = eco_strdup(ctx->arena, r->account_id);
  out->amount = eco_pb_money(ctx->arena, r->amount->micros);
  out->reason = eco_strdup(ctx->arena, r->reason);
  out->requested_by = eco_strdup(ctx->arena, ctx->caller.operator_id);
  out->created_at = eco_pb_time(ctx->arena, ctx->now_us);
  return store_correction_insert(ctx, ctx->tx, out);
}

static eco_status check_approval(eco_ctx *ctx, const Ecolink__V1__Correction *c) {
  if (c->approved_at != NULL) {
    return eco_error(ECO_WRONG_STATE, "correction %s has been approved already", c->id);
  }
  if (ctx->caller.operator_id[0] == '\0' || strcmp(ctx->caller.operator_id, c->requested_by) == 0) {
    return eco_error(ECO_FORBIDDEN, "a correction is approved by another operator than the one who asked for it");
  }
  return eco_success();
}

eco_status rpc_approve_correction(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ApproveCorrectionRequest *r = request;
  Ecolink__V1__Correction *c;
  ECO_TRY(store_correction_lock(ctx, ctx->tx, r->id, &c));
  if (c == NULL) {
    return eco_error(ECO_NOT_FOUND, "no such correction");
  }
  ECO_TRY(check_approval(ctx, c));
  store_account account;
  ECO_TRY(store_account_lock(ctx, ctx->tx, c->account_id, &account));
  if (account.available_micros + c->amount->micros < 0) {
    char available[ECO_MONEY_TEXT_MAX];
    eco_money_format(account.available_micros, available);
    return eco_error(ECO_WRONG_STATE, "only $%s is available: a correction cannot take more", available);
  }
  store_booking booking = {
      .key = eco_sprintf(ctx->arena, "correction:%s", c->id),
      .kind = "correction",
      .created_by = ctx->caller.operator_id,
      .description = c->reason,
      .posting = ledger_correction(c->amount->micros),
  };
  ECO_TRY(store_book(ctx, ctx->tx, &account, &booking, NULL));
  ECO_TRY(store_correction_approve(ctx, ctx->tx, c->id, ctx->caller.operator_id));
  ECO_TRY(publish_balance(ctx, ctx->tx, &account));
  c->approved_by = eco_strdup(ctx->arena, ctx->caller.operator_id);
  c->approved_at = eco_pb_time(ctx->arena, ctx->now_us);
  *(Ecolink__V1__Correction *)reply = *c;
  return eco_success();
}

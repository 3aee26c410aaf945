// The moves of a hold.
#include "holds.h"

#include <inttypes.h>

#include "notice.h"
#include "publish.h"

static Ecolink__V1__HoldState *state_of(eco_ctx *ctx, const char *account_id, int64_t instance_id, int64_t cycle,
                                        Ecolink__V1__HoldStatus status) {
  Ecolink__V1__HoldState *h = eco_alloc(ctx->arena, sizeof *h);
  ecolink__v1__hold_state__init(h);
  h->account_id = eco_strdup(ctx->arena, account_id);
  h->instance_id = instance_id;
  h->cycle = cycle;
  h->status = status;
  h->started_at_us = ctx->now_us;
  h->expires_at_us = ctx->now_us;
  return h;
}

eco_status holds_place(eco_ctx *ctx, eco_tx *tx, store_account *account, const holds_placement *p,
                       Ecolink__V1__HoldState **out) {
  bool partial = p->next.kind == CYCLE_NEXT_PARTIAL;
  Ecolink__V1__HoldState *h =
      state_of(ctx, account->id, p->instance_id, p->cycle,
               partial ? ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_PARTIAL : ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_OPEN);
  h->amount_micros = p->next.amount_micros;
  h->started_at_us = p->started_at_us;
  h->expires_at_us = p->next.expires_at_us;
  store_booking booking = {
      .key = eco_sprintf(ctx->arena, "hold:%" PRId64 ":%" PRId64, p->instance_id, p->cycle),
      .kind = "hold",
      .description =
          eco_sprintf(ctx->arena, "Hold for %s, cycle %" PRId64 "%s", p->model, p->cycle, partial ? " (partial)" : ""),
      .instance_id = p->instance_id,
      .posting = ledger_hold(p->next.amount_micros),
  };
  ECO_TRY(store_hold_insert(ctx, tx, h));
  ECO_TRY(store_book(ctx, tx, account, &booking, NULL));
  ECO_TRY(publish_hold(ctx, tx, partial ? "partial" : "placed", h));
  *out = h;
  return eco_success();
}

static Ecolink__V1__HoldState *ended_state(eco_ctx *ctx, const store_hold *hold, Ecolink__V1__HoldStatus status) {
  Ecolink__V1__HoldState *h = state_of(ctx, hold->account_id, hold->instance_id, hold->cycle, status);
  h->amount_micros = hold->rule.amount_micros;
  h->started_at_us = hold->rule.started_at_us;
  h->expires_at_us = hold->rule.expires_at_us;
  return h;
}

static store_booking settlement_booking(eco_ctx *ctx, const store_hold *hold, const cycle_settlement *s) {
  return (store_booking){
      .key = eco_sprintf(ctx->arena, "settle:%" PRId64 ":%" PRId64, hold->instance_id, hold->cycle),
      .kind = "settlement",
      .description = hold->model,
      // In the order of the posting: hold_release and gpu_usage come together or not at all.
      .descriptions = {s->charge_micros != 0
                           ? eco_sprintf(ctx->arena, "Hold released for usage of %s, cycle %" PRId64, hold->model,
                                         hold->cycle)
                           : eco_sprintf(ctx->arena, "Unused hold for %s, cycle %" PRId64, hold->model, hold->cycle),
                       eco_sprintf(ctx->arena, "GPU usage of %s: %" PRId64 " replica-second%s", hold->model, s->seconds,
                                   s->seconds == 1 ? "" : "s"),
                       eco_sprintf(ctx->arena, "Unused hold for %s, cycle %" PRId64, hold->model, hold->cycle)},
      .instance_id = hold->instance_id,
      .posting = ledger_settlement(s->charge_micros, s->refund_micros),
  };
}

eco_status holds_settle(eco_ctx *ctx, eco_tx *tx, store_account *account, const store_hold *hold,
                        const cycle_reading *reading, int64_t ends_at_us, bool tell, cycle_settlement *out) {
  if (!cycle_settle(&hold->rule, reading, ends_at_us, out)) {
    return eco_error(ECO_INTERNAL, "charge of instance %" PRId64 " leaves 64 bits", hold->instance_id);
  }
  store_booking booking = settlement_booking(ctx, hold, out);
  ECO_TRY(store_hold_end(ctx, tx, hold, ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_SETTLED, out));
  ECO_TRY(store_book(ctx, tx, account, &booking, NULL));
  if (!tell) {
    return eco_success();
  }
  return publish_hold(ctx, tx, "settled", ended_state(ctx, hold, ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_SETTLED));
}

eco_status holds_close(eco_ctx *ctx, eco_tx *tx, store_account *account, const store_hold *hold) {
  store_booking booking = {
      .key = eco_sprintf(ctx->arena, "close:%" PRId64 ":%" PRId64, hold->instance_id, hold->cycle),
      .kind = "close",
      .description = eco_sprintf(ctx->arena, "Hold for %s returned: it was not launched", hold->model),
      .instance_id = hold->instance_id,
      .posting = ledger_close(hold->rule.amount_micros),
  };
  ECO_TRY(store_hold_end(ctx, tx, hold, ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_CLOSED, NULL));
  ECO_TRY(store_book(ctx, tx, account, &booking, NULL));
  return publish_hold(ctx, tx, "closed", ended_state(ctx, hold, ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_CLOSED));
}

eco_status holds_refuse(eco_ctx *ctx, eco_tx *tx, store_account *account, const store_hold *hold, int64_t at_us) {
  Ecolink__V1__HoldState *h =
      state_of(ctx, account->id, hold->instance_id, hold->cycle + 1, ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_REFUSED);
  h->started_at_us = at_us;
  h->expires_at_us = at_us;
  ECO_TRY(store_hold_insert(ctx, tx, h));
  ECO_TRY(publish_hold(ctx, tx, "refused", h));
  return publish_notice(ctx, tx, account->id, NOTICE_CREDIT_DEPLETED,
                        ECOLINK__V1__NOTICE_SEVERITY__NOTICE_SEVERITY_CRITICAL, NOTICE_DEPLETED_TEXT,
                        hold->instance_id);
}

eco_status holds_bar(eco_ctx *ctx, eco_tx *tx, const char *account_id, int64_t instance_id, int64_t cycle,
                     Ecolink__V1__HoldState **out) {
  Ecolink__V1__HoldState *h =
      state_of(ctx, account_id, instance_id, cycle, ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_CLOSED);
  ECO_TRY(store_hold_insert(ctx, tx, h));
  ECO_TRY(publish_hold(ctx, tx, "closed", h));
  *out = h;
  return eco_success();
}

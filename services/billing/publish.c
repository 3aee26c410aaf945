// Events, KV entries and snapshots.
#include "publish.h"

#include <inttypes.h>

#include "ecolink/id.h"
#include "ecolink/lists.h"

enum { STANDING_PAGE = 500 };

static Ecolink__V1__BalanceState balance_state(const store_account *account) {
  Ecolink__V1__BalanceState b = ECOLINK__V1__BALANCE_STATE__INIT;
  b.account_id = (char *)account->id;  // borrowed: packed by the callee before the account goes
  b.available_micros = account->available_micros;
  b.held_micros = account->held_micros;
  return b;
}

static Ecolink__V1__StandingEntry standing_of(const store_account *account) {
  Ecolink__V1__StandingEntry s = ECOLINK__V1__STANDING_ENTRY__INIT;
  s.account_id = (char *)account->id;
  s.credit_micros = account->available_micros;
  return s;
}

eco_status publish_balance(eco_ctx *ctx, eco_tx *tx, store_account *account) {
  ECO_TRY(store_account_save(tx, account));
  Ecolink__V1__BalanceState balance = balance_state(account);
  ECO_TRY(eco_event_publish(ctx, tx, "balance.changed", account->id, account->version, &balance.base));
  Ecolink__V1__StandingEntry standing = standing_of(account);
  return eco_kv_publish(ctx, tx, "standing", account->id, account->version, &standing.base);
}

eco_status publish_hold(eco_ctx *ctx, eco_tx *tx, const char *verb, const Ecolink__V1__HoldState *hold) {
  int64_t version;
  ECO_TRY(store_hold_bump(tx, hold->instance_id, hold->cycle, &version));
  const char *entity_id = eco_sprintf(ctx->arena, "%" PRId64, hold->instance_id);
  return eco_event_publish(ctx, tx, eco_sprintf(ctx->arena, "hold.%s", verb), entity_id, version, &hold->base);
}

eco_status publish_notice(eco_ctx *ctx, eco_tx *tx, const char *account_id, const char *type,
                          Ecolink__V1__NoticeSeverity severity, const char *message, int64_t instance_id) {
  char id[ECO_ID_MAX];
  eco_id_new("ntc", id);
  Ecolink__V1__Notice n = ECOLINK__V1__NOTICE__INIT;
  n.id = id;
  n.account_id = (char *)account_id;
  n.type = (char *)type;
  n.severity = severity;
  n.message = (char *)message;
  n.created_at = eco_pb_time(ctx->arena, ctx->now_us);
  if (instance_id != 0) {
    n.instance_case = ECOLINK__V1__NOTICE__INSTANCE_INSTANCE_ID;
    n.instance_id = instance_id;
  }
  ECO_TRY(store_notice_insert(ctx, tx, &n));
  return eco_event_publish(ctx, tx, "notice.created", id, 1, &n.base);
}

eco_status publish_snapshot_hold(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink) {
  store_hold_page_row *rows;
  size_t count;
  ECO_TRY(store_holds_page(ctx, ctx->tx, after_id, limit, &rows, &count));
  for (size_t i = 0; i < count; i++) {
    eco_snapshot_add(sink, rows[i].entity_id, rows[i].version, &rows[i].state->base);
  }
  return eco_success();
}

eco_status publish_snapshot_balance(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink) {
  store_account *accounts;
  size_t count;
  ECO_TRY(store_accounts_page(ctx, ctx->tx, after_id, limit, &accounts, &count));
  for (size_t i = 0; i < count; i++) {
    Ecolink__V1__BalanceState balance = balance_state(&accounts[i]);
    eco_snapshot_add(sink, accounts[i].id, accounts[i].version, &balance.base);
  }
  return eco_success();
}

eco_status publish_kv_standing(eco_ctx *ctx, eco_kv_sink *sink) {
  const char *after = "";
  for (;;) {
    store_account *accounts;
    size_t count;
    ECO_TRY(store_accounts_page(ctx, ctx->tx, after, STANDING_PAGE, &accounts, &count));
    for (size_t i = 0; i < count; i++) {
      Ecolink__V1__StandingEntry standing = standing_of(&accounts[i]);
      eco_kv_add(sink, accounts[i].id, accounts[i].version, &standing.base);
    }
    if (count < STANDING_PAGE) {
      return eco_success();
    }
    after = accounts[count - 1].id;
  }
}

eco_status publish_kv_prices(eco_ctx *ctx, eco_kv_sink *sink) {
  (void)ctx;
  (void)sink;
  return eco_success();
}

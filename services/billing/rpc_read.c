// What customers read: balance, ledger, usage, notices.
#include <inttypes.h>

#include "billing_limits.h"
#include "ecolink/clock.h"
#include "ecolink/lists.h"
#include "handlers.h"
#include "notice.h"
#include "page.h"
#include "runway.h"
#include "store.h"

#define DAY_US (INT64_C(86400) * ECO_US_PER_S)

eco_status rpc_get_balance(eco_ctx *ctx, const void *request, void *reply) {
  (void)request;
  Ecolink__V1__Balance *out = reply;
  // An account whose own event is still under way has an empty wallet, and is none the less known to its key.
  store_account account = {.id = ctx->caller.account_id};
  bool exists;
  ECO_TRY(store_account_exists(ctx->tx, ctx->caller.account_id, &exists));
  if (exists) {
    ECO_TRY(store_account_read(ctx, ctx->tx, ctx->caller.account_id, &account));
  }
  store_hold *holds;
  size_t count;
  ECO_TRY(store_holds_open(ctx, ctx->tx, account.id, &holds, &count));
  runway_sum sum = runway_of(holds, count, ctx->now_us);
  out->available = eco_pb_money(ctx->arena, account.available_micros);
  out->held = eco_pb_money(ctx->arena, account.held_micros);
  out->burn_rate_micros_per_hour = sum.burn_micros_per_hour;
  int64_t runway_s;
  if (notice_runway_s(account.available_micros, sum.held_micros, sum.accrued_micros, sum.burn_micros_per_hour,
                      &runway_s)) {
    out->runway_case = ECOLINK__V1__BALANCE__RUNWAY_RUNWAY_SECONDS;
    out->runway_seconds = runway_s;
  }
  return eco_success();
}

// 0: of every instance.
static eco_status check_instance(int64_t instance_id) {
  return instance_id >= 0 ? eco_success()
                          : eco_error_param(ECO_INVALID_REQUEST, "instance_id", "instance_id is no instance's number");
}

eco_status rpc_list_transactions(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListTransactionsRequest *r = request;
  Ecolink__V1__TransactionList *out = reply;
  store_ledger_query query = {
      .account_id = ctx->caller.account_id,
      .type = ledger_type_word((ledger_type)r->type),
      .instance_id = r->instance_id,
  };
  int32_t limit;
  ECO_TRY(check_instance(r->instance_id));
  ECO_TRY(eco_page_limit(r->limit, BILLING_LIST_DEFAULT, BILLING_LIST_MAX, &limit));
  ECO_TRY(eco_page_position(r->cursor, INT64_MAX, &query.before_sequence));
  if (r->type != ECOLINK__V1__TRANSACTION_TYPE__TRANSACTION_TYPE_UNSPECIFIED && query.type[0] == '\0') {
    return eco_error_param(ECO_INVALID_REQUEST, "type", "type is no type of transaction");
  }
  query.limit = limit + 1;  // one more tells whether there is a further page
  size_t count;
  ECO_TRY(store_ledger_list(ctx, ctx->tx, &query, &out->data, &count));
  bool more = count > (size_t)limit;
  out->n_data = more ? (size_t)limit : count;
  out->page =
      eco_pb_page(ctx->arena, more ? eco_sprintf(ctx->arena, "%" PRId64, out->data[out->n_data - 1]->sequence) : NULL);
  return eco_success();
}

eco_status rpc_get_usage(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetUsageRequest *r = request;
  Ecolink__V1__UsageList *out = reply;
  store_usage_query query = {.account_id = ctx->caller.account_id, .instance_id = r->instance_id};
  int64_t today = ctx->now_us / DAY_US;
  int32_t limit;
  ECO_TRY(check_instance(r->instance_id));
  ECO_TRY(eco_page_limit(r->limit, BILLING_LIST_DEFAULT, BILLING_LIST_MAX, &limit));
  ECO_TRY(page_day(r->to, "to", today, &query.to_day));
  ECO_TRY(page_day(r->from, "from", query.to_day - BILLING_USAGE_DEFAULT_DAYS, &query.from_day));
  if (query.from_day > query.to_day) {
    return eco_error_param(ECO_INVALID_REQUEST, "from", "from must not be after to");
  }
  ECO_TRY(page_usage_cursor(r->cursor, &query.after_day, &query.after_instance, &query.after_key));
  query.limit = limit + 1;
  size_t count;
  int64_t *days;
  ECO_TRY(store_usage_list(ctx, ctx->tx, &query, &out->data, &count, &days));
  bool more = count > (size_t)limit;
  out->n_data = more ? (size_t)limit : count;
  const char *next = NULL;
  if (more) {
    const Ecolink__V1__UsageRow *last = out->data[out->n_data - 1];
    next =
        eco_sprintf(ctx->arena, "%" PRId64 ".%" PRId64 ".%s", days[out->n_data - 1], last->instance_id, last->key_id);
  }
  out->page = eco_pb_page(ctx->arena, next);
  return eco_success();
}

eco_status rpc_list_notices(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListNoticesRequest *r = request;
  Ecolink__V1__NoticeList *out = reply;
  int32_t limit;
  int64_t before;
  ECO_TRY(eco_page_limit(r->limit, BILLING_NOTICES_DEFAULT, BILLING_NOTICES_MAX, &limit));
  ECO_TRY(eco_page_position(r->cursor, INT64_MAX, &before));
  size_t count;
  int64_t *numbers;
  ECO_TRY(store_notices_list(ctx, ctx->tx, ctx->caller.account_id, before, limit + 1, &out->data, &count, &numbers));
  bool more = count > (size_t)limit;
  out->n_data = more ? (size_t)limit : count;
  out->page = eco_pb_page(ctx->arena, more ? eco_sprintf(ctx->arena, "%" PRId64, numbers[out->n_data - 1]) : NULL);
  return eco_success();
}

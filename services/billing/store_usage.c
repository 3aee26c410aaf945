// Notices, and usage summed by day.
#include <inttypes.h>

#include "ecolink/clock.h"
#include "ecolink/lists.h"
#include "store.h"

enum { DATE_LEN = 10 };

static const char SQL_NOTICE_INSERT[] =
    "INSERT INTO notices (id, account_id, type, severity, message, instance_id, created_at_us)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7)";
static const char SQL_NOTICES[] =
    "SELECT number, id, account_id, type, severity, message, instance_id, created_at_us FROM notices"
    " WHERE account_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3";
static const char SQL_BURNING[] =
    "SELECT account_id FROM holds WHERE status IN ('open', 'partial')"
    " UNION SELECT id FROM accounts WHERE notice_minutes > 0 ORDER BY 1";
static const char SQL_USAGE_ADD[] =
    "INSERT INTO usage_daily AS u (account_id, day, instance_id, key_id, requests, errors, prompt_tokens,"
    " completion_tokens, bytes_in, bytes_out, first_byte_us_sum) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
    " ON CONFLICT (account_id, day, instance_id, key_id) DO UPDATE SET requests = u.requests + excluded.requests,"
    " errors = u.errors + excluded.errors, prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,"
    " completion_tokens = u.completion_tokens + excluded.completion_tokens, bytes_in = u.bytes_in + excluded.bytes_in,"
    " bytes_out = u.bytes_out + excluded.bytes_out,"
    " first_byte_us_sum = u.first_byte_us_sum + excluded.first_byte_us_sum";
// Newest day first, then instance and key. $5 INT64_MAX: no page before this one.
static const char SQL_USAGE_LIST[] =
    "SELECT day, instance_id, key_id, requests, errors, prompt_tokens, completion_tokens, bytes_in, bytes_out,"
    " first_byte_us_sum FROM usage_daily WHERE account_id = $1 AND day BETWEEN $2 AND $3"
    " AND ($4::bigint = 0 OR instance_id = $4)"
    " AND (day < $5::bigint OR (day = $5::bigint AND (instance_id, key_id COLLATE \"C\") > ($6::bigint, $7::text)))"
    " ORDER BY day DESC, instance_id, key_id COLLATE \"C\" LIMIT $8";

eco_status store_notice_insert(eco_ctx *ctx, eco_tx *tx, const Ecolink__V1__Notice *notice) {
  int64_t instance_id = notice->instance_case == ECOLINK__V1__NOTICE__INSTANCE_INSTANCE_ID ? notice->instance_id : 0;
  return eco_tx_exec(tx, SQL_NOTICE_INSERT, NULL,
                     ECO_PARAMS(eco_p_str(notice->id), eco_p_str(notice->account_id), eco_p_str(notice->type),
                                eco_p_i64(notice->severity), eco_p_str(notice->message), eco_p_i64_or_null(instance_id),
                                eco_p_i64(ctx->now_us)));
}

eco_status store_notices_list(eco_ctx *ctx, eco_tx *tx, const char *account_id, int64_t before_number, int64_t limit,
                              Ecolink__V1__Notice ***out, size_t *count, int64_t **numbers) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_NOTICES, &rows,
                      ECO_PARAMS(eco_p_str(account_id), eco_p_i64(before_number), eco_p_i64(limit))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(ctx->arena, *count, sizeof **out);
  *numbers = eco_alloc_array(ctx->arena, *count, sizeof **numbers);
  for (size_t i = 0; i < *count; i++) {
    Ecolink__V1__Notice *n = eco_alloc(ctx->arena, sizeof *n);
    ecolink__v1__notice__init(n);
    (*numbers)[i] = eco_row_i64(rows, i, 0);
    n->id = eco_strdup(ctx->arena, eco_row_str(rows, i, 1));
    n->account_id = eco_strdup(ctx->arena, eco_row_str(rows, i, 2));
    n->type = eco_strdup(ctx->arena, eco_row_str(rows, i, 3));
    n->severity = (Ecolink__V1__NoticeSeverity)eco_row_i64(rows, i, 4);
    n->message = eco_strdup(ctx->arena, eco_row_str(rows, i, 5));
    if (!eco_row_null(rows, i, 6)) {
      n->instance_case = ECOLINK__V1__NOTICE__INSTANCE_INSTANCE_ID;
      n->instance_id = eco_row_i64(rows, i, 6);
    }
    n->created_at = eco_pb_time(ctx->arena, eco_row_i64(rows, i, 7));
    (*out)[i] = n;
  }
  return eco_success();
}

eco_status store_accounts_burning(eco_ctx *ctx, eco_tx *tx, const char ***out, size_t *count) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_BURNING, &rows, ECO_NO_PARAMS));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(ctx->arena, *count, sizeof **out);
  for (size_t i = 0; i < *count; i++) {
    (*out)[i] = eco_strdup(ctx->arena, eco_row_str(rows, i, 0));
  }
  return eco_success();
}

eco_status store_usage_add(eco_tx *tx, const Ecolink__V1__UsageRecord *r, int64_t day) {
  return eco_tx_exec(tx, SQL_USAGE_ADD, NULL,
                     ECO_PARAMS(eco_p_str(r->account_id), eco_p_i64(day), eco_p_i64(r->instance_id),
                                eco_p_str(r->key_id), eco_p_i64(r->requests), eco_p_i64(r->errors),
                                eco_p_i64(r->prompt_tokens), eco_p_i64(r->completion_tokens), eco_p_i64(r->bytes_in),
                                eco_p_i64(r->bytes_out), eco_p_i64(r->time_to_first_byte_us_sum)));
}

static char *date_of(eco_arena *arena, int64_t day) {
  char text[ECO_RFC3339_MAX];
  eco_rfc3339_format(day * 86400 * ECO_US_PER_S, text);
  return eco_strndup(arena, text, DATE_LEN);
}

eco_status store_usage_list(eco_ctx *ctx, eco_tx *tx, const store_usage_query *q, Ecolink__V1__UsageRow ***out,
                            size_t *count, int64_t **days) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(
      tx, SQL_USAGE_LIST, &rows,
      ECO_PARAMS(eco_p_str(q->account_id), eco_p_i64(q->from_day), eco_p_i64(q->to_day), eco_p_i64(q->instance_id),
                 eco_p_i64(q->after_day), eco_p_i64(q->after_instance), eco_p_str(q->after_key), eco_p_i64(q->limit))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(ctx->arena, *count, sizeof **out);
  *days = eco_alloc_array(ctx->arena, *count, sizeof **days);
  for (size_t i = 0; i < *count; i++) {
    Ecolink__V1__UsageRow *u = eco_alloc(ctx->arena, sizeof *u);
    ecolink__v1__usage_row__init(u);
    (*days)[i] = eco_row_i64(rows, i, 0);
    u->day = date_of(ctx->arena, (*days)[i]);
    u->instance_id = eco_row_i64(rows, i, 1);
    u->key_id = eco_strdup(ctx->arena, eco_row_str(rows, i, 2));
    u->requests = eco_row_i64(rows, i, 3);
    u->errors = eco_row_i64(rows, i, 4);
    u->prompt_tokens = eco_row_i64(rows, i, 5);
    u->completion_tokens = eco_row_i64(rows, i, 6);
    u->bytes_in = eco_row_i64(rows, i, 7);
    u->bytes_out = eco_row_i64(rows, i, 8);
    u->mean_time_to_first_byte_us = u->requests > 0 ? eco_row_i64(rows, i, 9) / u->requests : 0;
    (*out)[i] = u;
  }
  return eco_success();
}

// Instances as billing knows them, and their holds.
#include <inttypes.h>
#include <string.h>

#include "store.h"

#define OPEN "('open', 'partial')"

static const char SQL_INSTANCE_ENSURE[] =
    "INSERT INTO instances (id, account_id) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
static const char SQL_INSTANCE_LOCK[] = "SELECT account_id FROM instances WHERE id = $1 FOR UPDATE";
static const char SQL_INSTANCE_TERMS[] =
    "UPDATE instances SET model = $2, rate_micros_per_gpu_hour = $3, gpu_count = $4, total_replicas = $5,"
    " settled_until_us = $6, metered_until_us = $6, metered_seconds = 0, read_at_us = $7 WHERE id = $1";
static const char SQL_INSTANCE_SEEN[] =
    "INSERT INTO instances (id, account_id, model, status, ready_replicas) VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT (id) DO UPDATE SET status = excluded.status, ready_replicas = excluded.ready_replicas,"
    "   model = CASE WHEN instances.model = '' THEN excluded.model ELSE instances.model END"
    " WHERE instances.account_id = excluded.account_id";
static const char SQL_INSTANCE_METERED[] =
    "UPDATE instances SET status = CASE WHEN $2::int = 0 THEN status ELSE $2::int END, metered_until_us = $3,"
    " metered_seconds = $4, read_at_us = $5 WHERE id = $1";
static const char SQL_INSTANCE_SETTLED[] =
    "UPDATE instances SET settled_until_us = $2, seconds_settled = seconds_settled + $3, metered_until_us = $2,"
    " metered_seconds = 0 WHERE id = $1";
static const char SQL_HOLD_BUMP[] =
    "UPDATE instances SET hold_version = hold_version + 1, hold_cycle = greatest(hold_cycle, $2) WHERE id = $1"
    " RETURNING hold_version";

#define STATE_COLUMNS \
  "h.instance_id, h.account_id, h.cycle, h.status, h.amount_micros, h.started_at_us, h.expires_at_us"
static const char SQL_HOLD_FIND[] = "SELECT " STATE_COLUMNS " FROM holds h WHERE h.instance_id = $1 AND h.cycle = $2";
static const char SQL_HOLDS_PAGE[] =
    "SELECT " STATE_COLUMNS
    ", i.hold_version FROM instances i JOIN holds h ON h.instance_id = i.id AND h.cycle = i.hold_cycle"
    " WHERE i.hold_version > 0 AND (i.id::text) COLLATE \"C\" > $1 ORDER BY (i.id::text) COLLATE \"C\" LIMIT $2";
static const char SQL_HOLD_INSERT[] =
    "INSERT INTO holds (instance_id, cycle, account_id, status, amount_micros, started_at_us, expires_at_us, "
    "ended_at_us)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
static const char SQL_HOLD_END[] =
    "UPDATE holds SET status = $3, charged_micros = $4, charged_seconds = $5, charged_from_us = $6, charged_until_us = "
    "$7,"
    " ended_at_us = $8 WHERE instance_id = $1 AND cycle = $2 AND status IN " OPEN;
static const char SQL_HOLD_DUE_SEEN[] =
    "UPDATE holds SET due_seen_us = $3 WHERE instance_id = $1 AND cycle = $2 AND due_seen_us = 0";

#define HOLD_COLUMNS                                                                                                 \
  "h.instance_id, h.cycle, h.account_id, i.model, i.hold_version, i.status, i.ready_replicas, h.due_seen_us,"        \
  " i.metered_until_us, i.metered_seconds, h.amount_micros, h.started_at_us, h.expires_at_us, h.status = 'partial'," \
  " i.settled_until_us, i.seconds_settled, i.rate_micros_per_gpu_hour, i.gpu_count, i.total_replicas"
static const char SQL_HOLDS_OPEN[] =
    "SELECT " HOLD_COLUMNS
    " FROM holds h JOIN instances i ON i.id = h.instance_id"
    " WHERE h.account_id = $1 AND h.status IN " OPEN " ORDER BY h.expires_at_us, h.instance_id";
// $1 now, $2 the oldest look that is recent enough, $3 accounts. 4, 5, 6: stopping, stopped, failed.
static const char SQL_HOLDS_CANDIDATES[] =
    "WITH due AS (SELECT h.instance_id, h.cycle, h.account_id, i.read_at_us FROM holds h"
    "  JOIN instances i ON i.id = h.instance_id JOIN accounts a ON a.id = h.account_id"
    "  WHERE h.status IN " OPEN
    " AND (h.expires_at_us <= $1 OR i.status IN (4, 5, 6)"
    "   OR (h.status = 'partial' AND a.available_micros > 0) OR i.read_at_us NOT BETWEEN $2 AND $1)),"
    " chosen AS (SELECT account_id FROM due GROUP BY account_id ORDER BY min(read_at_us), account_id LIMIT $3)"
    "SELECT " HOLD_COLUMNS
    " FROM due d JOIN chosen c ON c.account_id = d.account_id"
    " JOIN holds h ON h.instance_id = d.instance_id AND h.cycle = d.cycle JOIN instances i ON i.id = h.instance_id"
    " ORDER BY h.account_id, h.expires_at_us, h.instance_id";

// The column's words and the contract's values.
static const struct {
  const char *word;
  Ecolink__V1__HoldStatus status;
} hold_words[] = {
    {"open", ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_OPEN},
    {"partial", ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_PARTIAL},
    {"refused", ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_REFUSED},
    {"settled", ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_SETTLED},
    {"closed", ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_CLOSED},
};
enum { HOLD_WORDS = sizeof hold_words / sizeof *hold_words };

static const char *word_of(Ecolink__V1__HoldStatus status) {
  for (int i = 0; i < HOLD_WORDS; i++) {
    if (hold_words[i].status == status) {
      return hold_words[i].word;
    }
  }
  return "";
}

static Ecolink__V1__HoldStatus status_of(const char *word) {
  for (int i = 0; i < HOLD_WORDS; i++) {
    if (strcmp(hold_words[i].word, word) == 0) {
      return hold_words[i].status;
    }
  }
  return ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_UNSPECIFIED;
}

static bool is_open(Ecolink__V1__HoldStatus status) {
  return status == ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_OPEN ||
         status == ECOLINK__V1__HOLD_STATUS__HOLD_STATUS_PARTIAL;
}

eco_status store_instance_ensure(eco_ctx *ctx, eco_tx *tx, int64_t instance_id, const char *account_id) {
  (void)ctx;
  ECO_TRY(eco_tx_exec(tx, SQL_INSTANCE_ENSURE, NULL, ECO_PARAMS(eco_p_i64(instance_id), eco_p_str(account_id))));
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_INSTANCE_LOCK, &rows, ECO_PARAMS(eco_p_i64(instance_id))));
  if (eco_rows_count(rows) != 1 || strcmp(eco_row_str(rows, 0, 0), account_id) != 0) {
    return eco_error(ECO_FORBIDDEN, "instance %" PRId64 " belongs to another account", instance_id);
  }
  return eco_success();
}

eco_status store_instance_set_terms(eco_ctx *ctx, eco_tx *tx, const store_terms *terms) {
  // Charging begins at the hold; a whole second, so that every later boundary is one.
  int64_t from_us = ctx->now_us - ctx->now_us % CYCLE_US_PER_S;
  return eco_tx_exec(tx, SQL_INSTANCE_TERMS, NULL,
                     ECO_PARAMS(eco_p_i64(terms->instance_id), eco_p_str(terms->model),
                                eco_p_i64(terms->terms.rate_micros_per_gpu_hour), eco_p_i64(terms->terms.gpu_count),
                                eco_p_i64(terms->terms.total_replicas), eco_p_i64(from_us), eco_p_i64(ctx->now_us)));
}

eco_status store_instance_seen(eco_ctx *ctx, eco_tx *tx, int64_t instance_id, const char *account_id, const char *model,
                               int status, int ready_replicas) {
  (void)ctx;
  return eco_tx_exec(tx, SQL_INSTANCE_SEEN, NULL,
                     ECO_PARAMS(eco_p_i64(instance_id), eco_p_str(account_id), eco_p_str(model), eco_p_i64(status),
                                eco_p_i64(ready_replicas)));
}

eco_status store_instance_metered(eco_ctx *ctx, eco_tx *tx, int64_t instance_id, int status, int64_t until_us,
                                  int64_t seconds) {
  return eco_tx_exec(tx, SQL_INSTANCE_METERED, NULL,
                     ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(status), eco_p_i64(until_us), eco_p_i64(seconds),
                                eco_p_i64(ctx->now_us)));
}

static Ecolink__V1__HoldState *read_state(eco_ctx *ctx, const eco_rows *rows, size_t row) {
  Ecolink__V1__HoldState *h = eco_alloc(ctx->arena, sizeof *h);
  ecolink__v1__hold_state__init(h);
  h->instance_id = eco_row_i64(rows, row, 0);
  h->account_id = eco_strdup(ctx->arena, eco_row_str(rows, row, 1));
  h->cycle = eco_row_i64(rows, row, 2);
  h->status = status_of(eco_row_str(rows, row, 3));
  h->amount_micros = eco_row_i64(rows, row, 4);
  h->started_at_us = eco_row_i64(rows, row, 5);
  h->expires_at_us = eco_row_i64(rows, row, 6);
  return h;
}

eco_status store_hold_find(eco_ctx *ctx, eco_tx *tx, int64_t instance_id, int64_t cycle, Ecolink__V1__HoldState **out) {
  eco_rows *rows;
  *out = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_HOLD_FIND, &rows, ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(cycle))));
  if (eco_rows_count(rows) > 0) {
    *out = read_state(ctx, rows, 0);
  }
  return eco_success();
}

eco_status store_hold_insert(eco_ctx *ctx, eco_tx *tx, const Ecolink__V1__HoldState *hold) {
  return eco_tx_exec(
      tx, SQL_HOLD_INSERT, NULL,
      ECO_PARAMS(eco_p_i64(hold->instance_id), eco_p_i64(hold->cycle), eco_p_str(hold->account_id),
                 eco_p_str(word_of(hold->status)), eco_p_i64(hold->amount_micros), eco_p_i64(hold->started_at_us),
                 eco_p_i64(hold->expires_at_us), is_open(hold->status) ? eco_p_null() : eco_p_i64(ctx->now_us)));
}

eco_status store_hold_end(eco_ctx *ctx, eco_tx *tx, const store_hold *hold, Ecolink__V1__HoldStatus status,
                          const cycle_settlement *settlement) {
  cycle_settlement none = {.settled_until_us = hold->rule.settled_until_us};
  const cycle_settlement *s = settlement != NULL ? settlement : &none;
  eco_rows *rows;
  ECO_TRY(
      eco_tx_exec(tx, SQL_HOLD_END, &rows,
                  ECO_PARAMS(eco_p_i64(hold->instance_id), eco_p_i64(hold->cycle), eco_p_str(word_of(status)),
                             eco_p_i64(s->charge_micros), eco_p_i64(s->seconds), eco_p_i64(hold->rule.settled_until_us),
                             eco_p_i64(s->settled_until_us), eco_p_i64(ctx->now_us))));
  if (eco_rows_affected(rows) != 1) {
    return eco_error(ECO_INTERNAL, "hold %" PRId64 ":%" PRId64 " was to end twice", hold->instance_id, hold->cycle);
  }
  if (settlement == NULL) {
    return eco_success();
  }
  return eco_tx_exec(tx, SQL_INSTANCE_SETTLED, NULL,
                     ECO_PARAMS(eco_p_i64(hold->instance_id), eco_p_i64(s->settled_until_us), eco_p_i64(s->seconds)));
}

eco_status store_hold_bump(eco_tx *tx, int64_t instance_id, int64_t cycle, int64_t *version_out) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_HOLD_BUMP, &rows, ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(cycle))));
  if (eco_rows_count(rows) != 1) {
    return eco_error(ECO_INTERNAL, "instance %" PRId64 " has a hold but no row", instance_id);
  }
  *version_out = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status store_hold_due_seen(eco_ctx *ctx, eco_tx *tx, const store_hold *hold) {
  return eco_tx_exec(tx, SQL_HOLD_DUE_SEEN, NULL,
                     ECO_PARAMS(eco_p_i64(hold->instance_id), eco_p_i64(hold->cycle), eco_p_i64(ctx->now_us)));
}

static void read_holds(eco_ctx *ctx, const eco_rows *rows, store_hold **out, size_t *count) {
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(ctx->arena, *count, sizeof **out);
  for (size_t i = 0; i < *count; i++) {
    (*out)[i] = (store_hold){
        .instance_id = eco_row_i64(rows, i, 0),
        .cycle = eco_row_i64(rows, i, 1),
        .account_id = eco_strdup(ctx->arena, eco_row_str(rows, i, 2)),
        .model = eco_strdup(ctx->arena, eco_row_str(rows, i, 3)),
        .hold_version = eco_row_i64(rows, i, 4),
        .instance_status = (int)eco_row_i64(rows, i, 5),
        .ready_replicas = (int)eco_row_i64(rows, i, 6),
        .due_seen_us = eco_row_i64(rows, i, 7),
        .metered_until_us = eco_row_i64(rows, i, 8),
        .metered_seconds = eco_row_i64(rows, i, 9),
        .rule =
            {
                .amount_micros = eco_row_i64(rows, i, 10),
                .started_at_us = eco_row_i64(rows, i, 11),
                .expires_at_us = eco_row_i64(rows, i, 12),
                .partial = eco_row_bool(rows, i, 13),
                .settled_until_us = eco_row_i64(rows, i, 14),
                .seconds_before = eco_row_i64(rows, i, 15),
                .terms = {.rate_micros_per_gpu_hour = eco_row_i64(rows, i, 16),
                          .gpu_count = (int32_t)eco_row_i64(rows, i, 17),
                          .total_replicas = (int32_t)eco_row_i64(rows, i, 18)},
            },
    };
  }
}

eco_status store_holds_open(eco_ctx *ctx, eco_tx *tx, const char *account_id, store_hold **out, size_t *count) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_HOLDS_OPEN, &rows, ECO_PARAMS(eco_p_str(account_id))));
  read_holds(ctx, rows, out, count);
  return eco_success();
}

eco_status store_holds_candidates(eco_ctx *ctx, eco_tx *tx, int64_t reconcile_s, int64_t accounts, store_hold **out,
                                  size_t *count) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(
      tx, SQL_HOLDS_CANDIDATES, &rows,
      ECO_PARAMS(eco_p_i64(ctx->now_us), eco_p_i64(ctx->now_us - reconcile_s * CYCLE_US_PER_S), eco_p_i64(accounts))));
  read_holds(ctx, rows, out, count);
  return eco_success();
}

eco_status store_holds_page(eco_ctx *ctx, eco_tx *tx, const char *after_id, int64_t limit, store_hold_page_row **out,
                            size_t *count) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_HOLDS_PAGE, &rows, ECO_PARAMS(eco_p_str(after_id), eco_p_i64(limit))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(ctx->arena, *count, sizeof **out);
  for (size_t i = 0; i < *count; i++) {
    Ecolink__V1__HoldState *state = read_state(ctx, rows, i);
    (*out)[i] = (store_hold_page_row){
        .entity_id = eco_sprintf(ctx->arena, "%" PRId64, state->instance_id),
        .version = eco_row_i64(rows, i, 7),
        .state = state,
    };
  }
  return eco_success();
}

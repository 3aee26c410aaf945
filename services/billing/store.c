// Wallets.
#include "store.h"

#include <inttypes.h>
#include <string.h>

static const char SQL_ENSURE[] =
    "INSERT INTO accounts (id, name, created_at_us) VALUES ($1, coalesce($2, ''), $3) ON CONFLICT (id) DO NOTHING";
static const char SQL_RENAME[] = "UPDATE accounts SET name = $2 WHERE id = $1 AND name <> $2";
static const char SQL_EXISTS[] = "SELECT 1 FROM accounts WHERE id = $1";
#define ACCOUNT_COLUMNS "id, version, sequence, available_micros, held_micros, chain_head, notice_minutes"
static const char SQL_LOCK[] = "SELECT " ACCOUNT_COLUMNS " FROM accounts WHERE id = $1 FOR UPDATE";
static const char SQL_READ[] = "SELECT " ACCOUNT_COLUMNS " FROM accounts WHERE id = $1";
static const char SQL_SAVE[] =
    "UPDATE accounts SET version = version + 1, sequence = $2, available_micros = $3, held_micros = $4, chain_head = "
    "$5,"
    " notice_minutes = $6 WHERE id = $1 RETURNING version";
static const char SQL_SAVE_NOTICE[] = "UPDATE accounts SET notice_minutes = $2 WHERE id = $1";
static const char SQL_PAGE[] =
    "SELECT " ACCOUNT_COLUMNS " FROM accounts WHERE id COLLATE \"C\" > $1 ORDER BY id COLLATE \"C\" LIMIT $2";

eco_status store_account_ensure(eco_ctx *ctx, eco_tx *tx, const char *id, const char *name, bool *created) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_ENSURE, &rows, ECO_PARAMS(eco_p_str(id), eco_p_str(name), eco_p_i64(ctx->now_us))));
  *created = eco_rows_affected(rows) == 1;
  if (!*created && name != NULL) {
    return eco_tx_exec(tx, SQL_RENAME, NULL, ECO_PARAMS(eco_p_str(id), eco_p_str(name)));
  }
  return eco_success();
}

eco_status store_account_exists(eco_tx *tx, const char *id, bool *exists) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_EXISTS, &rows, ECO_PARAMS(eco_p_str(id))));
  *exists = eco_rows_count(rows) > 0;
  return eco_success();
}

static eco_status read_row(eco_ctx *ctx, const eco_rows *rows, size_t row, store_account *out) {
  uint8_t *head;
  size_t head_len;
  eco_row_bytes(rows, row, 5, ctx->arena, &head, &head_len);
  if (head_len != LEDGER_HASH_LEN) {
    return eco_error(ECO_INTERNAL, "account %s: chain head of %zu bytes", eco_row_str(rows, row, 0), head_len);
  }
  *out = (store_account){
      .id = eco_strdup(ctx->arena, eco_row_str(rows, row, 0)),
      .version = eco_row_i64(rows, row, 1),
      .sequence = eco_row_i64(rows, row, 2),
      .available_micros = eco_row_i64(rows, row, 3),
      .held_micros = eco_row_i64(rows, row, 4),
      .notice_minutes = (int)eco_row_i64(rows, row, 6),
  };
  memcpy(out->chain_head, head, LEDGER_HASH_LEN);
  return eco_success();
}

static eco_status read_one(eco_ctx *ctx, eco_tx *tx, const char *sql, const char *id, store_account *out) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, sql, &rows, ECO_PARAMS(eco_p_str(id))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_NOT_FOUND, "no account %s", id);
  }
  return read_row(ctx, rows, 0, out);
}

eco_status store_account_lock(eco_ctx *ctx, eco_tx *tx, const char *id, store_account *out) {
  return read_one(ctx, tx, SQL_LOCK, id, out);
}

eco_status store_account_read(eco_ctx *ctx, eco_tx *tx, const char *id, store_account *out) {
  return read_one(ctx, tx, SQL_READ, id, out);
}

eco_status store_account_save(eco_tx *tx, store_account *account) {
  eco_rows *rows;
  ECO_TRY(
      eco_tx_exec(tx, SQL_SAVE, &rows,
                  ECO_PARAMS(eco_p_str(account->id), eco_p_i64(account->sequence), eco_p_i64(account->available_micros),
                             eco_p_i64(account->held_micros), eco_p_bytes(account->chain_head, LEDGER_HASH_LEN),
                             eco_p_i64(account->notice_minutes))));
  if (eco_rows_count(rows) != 1) {
    return eco_error(ECO_INTERNAL, "account %s vanished while it was locked", account->id);
  }
  account->version = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status store_account_save_notice(eco_tx *tx, const char *id, int notice_minutes) {
  return eco_tx_exec(tx, SQL_SAVE_NOTICE, NULL, ECO_PARAMS(eco_p_str(id), eco_p_i64(notice_minutes)));
}

eco_status store_accounts_page(eco_ctx *ctx, eco_tx *tx, const char *after_id, int64_t limit, store_account **out,
                               size_t *count) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_PAGE, &rows, ECO_PARAMS(eco_p_str(after_id), eco_p_i64(limit))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(ctx->arena, *count, sizeof **out);
  for (size_t i = 0; i < *count; i++) {
    ECO_TRY(read_row(ctx, rows, i, &(*out)[i]));
  }
  return eco_success();
}

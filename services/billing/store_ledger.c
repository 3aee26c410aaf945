// The ledger's append, its listing, and corrections that wait for a second operator.
#include <inttypes.h>
#include <string.h>

#include "ecolink/id.h"
#include "ecolink/lists.h"
#include "ecolink/money.h"
#include "store.h"

static const char SQL_TRANSACTION[] =
    "INSERT INTO ledger_transactions (key, kind, created_at_us, created_by, request_id) VALUES ($1, $2, $3, $4, $5)"
    " RETURNING id";
// A customer row and its counterpart, side by side.
static const char SQL_ENTRIES[] =
    "INSERT INTO ledger_entries (transaction_id, position, account_id, amount_micros, sequence, id, type,"
    " balance_after_micros, description, instance_id, created_at_us, previous_hash, hash) VALUES"
    " ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13),"
    " ($1, $2 + 1, $14, $15, NULL, NULL, NULL, NULL, NULL, $10, $11, NULL, NULL)";
static const char SQL_LIST[] =
    "SELECT id, created_at_us, type, amount_micros, balance_after_micros, description, instance_id, sequence"
    " FROM ledger_entries WHERE account_id = $1 AND sequence < $2 AND ($3 = '' OR type = $3)"
    " AND ($4::bigint = 0 OR instance_id = $4) ORDER BY sequence DESC LIMIT $5";
static const char SQL_CORRECTION_INSERT[] =
    "INSERT INTO corrections (id, account_id, amount_micros, reason, requested_by, created_at_us)"
    " VALUES ($1, $2, $3, $4, $5, $6)";
static const char SQL_CORRECTION_LOCK[] =
    "SELECT id, account_id, amount_micros, reason, requested_by, approved_by, created_at_us, approved_at_us"
    " FROM corrections WHERE id = $1 FOR UPDATE";
static const char SQL_CORRECTION_APPROVE[] =
    "UPDATE corrections SET approved_by = $2, approved_at_us = $3 WHERE id = $1 AND approved_by IS NULL";

// The account after the row: balance, held sum, sequence. The chain follows with the hash.
static eco_status move_account(store_account *account, const ledger_row *row) {
  int64_t available;
  int64_t held = account->held_micros;
  if (!eco_money_add(account->available_micros, row->amount_micros, &available) ||
      (strcmp(row->against, LEDGER_HELD) == 0 && !eco_money_sub(held, row->amount_micros, &held))) {
    return eco_error(ECO_INTERNAL, "account %s: the balance would leave 64 bits", account->id);
  }
  if (available < 0 || held < 0) {
    return eco_error(ECO_INTERNAL, "account %s: a %s of %" PRId64 " micros would make a balance negative", account->id,
                     ledger_type_word(row->type), row->amount_micros);
  }
  account->available_micros = available;
  account->held_micros = held;
  account->sequence++;
  return eco_success();
}

static Ecolink__V1__Transaction *to_message(eco_ctx *ctx, const ledger_entry *entry) {
  Ecolink__V1__Transaction *t = eco_alloc(ctx->arena, sizeof *t);
  ecolink__v1__transaction__init(t);
  t->id = eco_strdup(ctx->arena, entry->id);
  t->created_at = eco_pb_time(ctx->arena, entry->created_at_us);
  t->type = (Ecolink__V1__TransactionType)ledger_type_from_word(entry->type);
  t->amount = eco_pb_money(ctx->arena, entry->amount_micros);
  t->balance_after = eco_pb_money(ctx->arena, entry->balance_after_micros);
  t->description = eco_strdup(ctx->arena, entry->description);
  t->sequence = entry->sequence;
  if (entry->instance_id != 0) {
    t->instance_case = ECOLINK__V1__TRANSACTION__INSTANCE_INSTANCE_ID;
    t->instance_id = entry->instance_id;
  }
  return t;
}

static eco_status book_row(eco_ctx *ctx, eco_tx *tx, store_account *account, const store_booking *booking,
                           int64_t transaction_id, size_t i, ledger_entry *entry) {
  const ledger_row *row = &booking->posting.rows[i];
  ECO_TRY(move_account(account, row));
  char id[ECO_ID_MAX];
  eco_id_new("txn", id);
  const char *description = booking->descriptions[i] != NULL ? booking->descriptions[i] : booking->description;
  *entry = (ledger_entry){
      .account_id = account->id,
      .sequence = account->sequence,
      .id = eco_strdup(ctx->arena, id),
      .key = booking->key,
      .type = ledger_type_word(row->type),
      .amount_micros = row->amount_micros,
      .balance_after_micros = account->available_micros,
      .instance_id = booking->instance_id,
      .created_at_us = ctx->now_us,
      .description = description,
  };
  if (!ledger_hash(account->chain_head, entry, entry->hash)) {
    return eco_error(ECO_INTERNAL, "ledger row of %s is too long to seal", booking->key);
  }
  ECO_TRY(eco_tx_exec(
      tx, SQL_ENTRIES, NULL,
      ECO_PARAMS(eco_p_i64(transaction_id), eco_p_i64((int64_t)(2 * i)), eco_p_str(account->id),
                 eco_p_i64(row->amount_micros), eco_p_i64(entry->sequence), eco_p_str(entry->id),
                 eco_p_str(entry->type), eco_p_i64(entry->balance_after_micros), eco_p_str(description),
                 eco_p_i64_or_null(booking->instance_id), eco_p_i64(ctx->now_us),
                 eco_p_bytes(account->chain_head, LEDGER_HASH_LEN), eco_p_bytes(entry->hash, LEDGER_HASH_LEN),
                 eco_p_str(row->against), eco_p_i64(-row->amount_micros))));
  memcpy(account->chain_head, entry->hash, LEDGER_HASH_LEN);
  return eco_success();
}

eco_status store_book(eco_ctx *ctx, eco_tx *tx, store_account *account, const store_booking *booking,
                      Ecolink__V1__Transaction **last) {
  if (last != NULL) {
    *last = NULL;
  }
  if (booking->posting.count == 0) {
    return eco_success();
  }
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_TRANSACTION, &rows,
                      ECO_PARAMS(eco_p_str(booking->key), eco_p_str(booking->kind), eco_p_i64(ctx->now_us),
                                 eco_p_str(booking->created_by != NULL ? booking->created_by : ""),
                                 eco_p_str(ctx->request_id != NULL ? ctx->request_id : ""))));
  int64_t transaction_id = eco_row_i64(rows, 0, 0);
  for (size_t i = 0; i < booking->posting.count; i++) {
    ledger_entry entry;
    ECO_TRY(book_row(ctx, tx, account, booking, transaction_id, i, &entry));
    if (last != NULL) {
      *last = to_message(ctx, &entry);
    }
  }
  return eco_success();
}

eco_status store_ledger_list(eco_ctx *ctx, eco_tx *tx, const store_ledger_query *query, Ecolink__V1__Transaction ***out,
                             size_t *count) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_LIST, &rows,
                      ECO_PARAMS(eco_p_str(query->account_id), eco_p_i64(query->before_sequence),
                                 eco_p_str(query->type), eco_p_i64(query->instance_id), eco_p_i64(query->limit))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(ctx->arena, *count, sizeof **out);
  for (size_t i = 0; i < *count; i++) {
    ledger_entry entry = {
        .id = eco_row_str(rows, i, 0),
        .created_at_us = eco_row_i64(rows, i, 1),
        .type = eco_row_str(rows, i, 2),
        .amount_micros = eco_row_i64(rows, i, 3),
        .balance_after_micros = eco_row_i64(rows, i, 4),
        .description = eco_row_str(rows, i, 5),
        .instance_id = eco_row_i64(rows, i, 6),
        .sequence = eco_row_i64(rows, i, 7),
    };
    (*out)[i] = to_message(ctx, &entry);
  }
  return eco_success();
}

eco_status store_correction_insert(eco_ctx *ctx, eco_tx *tx, const Ecolink__V1__Correction *correction) {
  return eco_tx_exec(
      tx, SQL_CORRECTION_INSERT, NULL,
      ECO_PARAMS(eco_p_str(correction->id), eco_p_str(correction->account_id), eco_p_i64(correction->amount->micros),
                 eco_p_str(correction->reason), eco_p_str(correction->requested_by), eco_p_i64(ctx->now_us)));
}

eco_status store_correction_lock(eco_ctx *ctx, eco_tx *tx, const char *id, Ecolink__V1__Correction **out) {
  eco_rows *rows;
  *out = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_CORRECTION_LOCK, &rows, ECO_PARAMS(eco_p_str(id))));
  if (eco_rows_count(rows) == 0) {
    return eco_success();
  }
  Ecolink__V1__Correction *c = eco_alloc(ctx->arena, sizeof *c);
  ecolink__v1__correction__init(c);
  c->id = eco_strdup(ctx->arena, eco_row_str(rows, 0, 0));
  c->account_id = eco_strdup(ctx->arena, eco_row_str(rows, 0, 1));
  c->amount = eco_pb_money(ctx->arena, eco_row_i64(rows, 0, 2));
  c->reason = eco_strdup(ctx->arena, eco_row_str(rows, 0, 3));
  c->requested_by = eco_strdup(ctx->arena, eco_row_str(rows, 0, 4));
  c->approved_by = eco_strdup(ctx->arena, eco_row_str(rows, 0, 5));
  c->created_at = eco_pb_time(ctx->arena, eco_row_i64(rows, 0, 6));
  if (!eco_row_null(rows, 0, 7)) {
    c->approved_at = eco_pb_time(ctx->arena, eco_row_i64(rows, 0, 7));
  }
  *out = c;
  return eco_success();
}

eco_status store_correction_approve(eco_ctx *ctx, eco_tx *tx, const char *id, const char *approved_by) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_CORRECTION_APPROVE, &rows,
                      ECO_PARAMS(eco_p_str(id), eco_p_str(approved_by), eco_p_i64(ctx->now_us))));
  if (eco_rows_affected(rows) != 1) {
    return eco_error(ECO_WRONG_STATE, "correction %s has been approved already", id);
  }
  return eco_success();
}

// SQL of accounts and operators.
#include "ecolink/lists.h"
#include "store.h"

#define ACCOUNT_COLUMNS "id, name, owner_email, created_at_us, version"

static const char SQL_ACCOUNT_INSERT[] =
    "INSERT INTO accounts (id, name, owner_email, created_at_us, version) VALUES ($1, $2, $3, $4, 1)";
static const char SQL_ACCOUNT_LOCK[] = "SELECT id FROM accounts WHERE id = $1 FOR UPDATE";
static const char SQL_ACCOUNT_FIND[] = "SELECT " ACCOUNT_COLUMNS " FROM accounts WHERE id = $1";
static const char SQL_ACCOUNT_LIST[] = "SELECT " ACCOUNT_COLUMNS
                                       " FROM accounts WHERE (created_at_us, id) < ($1, $2)"
                                       " ORDER BY created_at_us DESC, id DESC LIMIT $3";
static const char SQL_ACCOUNT_AFTER[] = "SELECT " ACCOUNT_COLUMNS " FROM accounts WHERE id > $1 ORDER BY id LIMIT $2";
static const char SQL_OPERATOR_INSERT[] = "INSERT INTO operators (id, name, created_at_us) VALUES ($1, $2, $3)";
static const char SQL_OPERATOR_ENSURE[] =
    "INSERT INTO operators (id, name, created_at_us) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
static const char SQL_OPERATOR_LOCK[] = "SELECT id FROM operators WHERE id = $1 FOR UPDATE";
static const char SQL_OPERATOR_COUNT_OTHERS[] = "SELECT count(*) FROM operators WHERE id <> $1";
static const char SQL_OPERATOR_LIST[] =
    "SELECT id, name, created_at_us FROM operators WHERE (created_at_us, id) < ($1, $2)"
    " ORDER BY created_at_us DESC, id DESC LIMIT $3";

eco_status registry_account_insert(eco_tx *tx, const Ecolink__V1__Account *account) {
  return eco_tx_exec(tx, SQL_ACCOUNT_INSERT, NULL,
                     ECO_PARAMS(eco_p_str(account->id), eco_p_str(account->name), eco_p_str(account->owner_email),
                                eco_p_i64(account->created_at->micros)));
}

eco_status registry_account_lock(eco_tx *tx, const char *account_id) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_ACCOUNT_LOCK, &rows, ECO_PARAMS(eco_p_str(account_id))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_NOT_FOUND, "there is no such account");
  }
  return eco_success();
}

static void read_accounts(eco_arena *arena, const eco_rows *rows, registry_accounts *out) {
  out->n = eco_rows_count(rows);
  out->data = eco_alloc_array(arena, out->n + 1, sizeof *out->data);
  out->versions = eco_alloc_array(arena, out->n + 1, sizeof *out->versions);
  for (size_t i = 0; i < out->n; i++) {
    Ecolink__V1__Account *a = eco_alloc(arena, sizeof *a);
    ecolink__v1__account__init(a);
    a->id = eco_strdup(arena, eco_row_str(rows, i, 0));
    a->name = eco_strdup(arena, eco_row_str(rows, i, 1));
    a->owner_email = eco_strdup(arena, eco_row_str(rows, i, 2));
    a->created_at = eco_pb_time(arena, eco_row_i64(rows, i, 3));
    out->data[i] = a;
    out->versions[i] = eco_row_i64(rows, i, 4);
  }
}

eco_status registry_account_find(eco_tx *tx, eco_arena *arena, const char *id, Ecolink__V1__Account **out) {
  eco_rows *rows = NULL;
  registry_accounts found;
  ECO_TRY(eco_tx_exec(tx, SQL_ACCOUNT_FIND, &rows, ECO_PARAMS(eco_p_str(id))));
  read_accounts(arena, rows, &found);
  *out = found.data[0];
  return eco_success();
}

eco_status registry_account_list(eco_tx *tx, eco_arena *arena, const registry_page *page, registry_accounts *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(
      tx, SQL_ACCOUNT_LIST, &rows,
      ECO_PARAMS(eco_p_i64(page->before_us), eco_p_str(page->before_id), eco_p_i64((int64_t)page->limit + 1))));
  read_accounts(arena, rows, out);
  return eco_success();
}

eco_status registry_account_after(eco_tx *tx, eco_arena *arena, const char *after_id, int limit,
                                  registry_accounts *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_ACCOUNT_AFTER, &rows, ECO_PARAMS(eco_p_str(after_id), eco_p_i64(limit))));
  read_accounts(arena, rows, out);
  return eco_success();
}

eco_status registry_operator_insert(eco_tx *tx, const Ecolink__V1__Operator *op, bool *taken) {
  ECO_TRY(eco_tx_try(tx, SQL_OPERATOR_INSERT, NULL,
                     ECO_PARAMS(eco_p_str(op->id), eco_p_str(op->name), eco_p_i64(op->created_at->micros))));
  *taken = eco_tx_violated(tx) != NULL;
  return eco_success();
}

eco_status registry_operator_ensure(eco_tx *tx, const char *id, const char *name, int64_t now_us) {
  return eco_tx_exec(tx, SQL_OPERATOR_ENSURE, NULL, ECO_PARAMS(eco_p_str(id), eco_p_str(name), eco_p_i64(now_us)));
}

eco_status registry_operator_lock(eco_tx *tx, const char *id) {
  return eco_tx_exec(tx, SQL_OPERATOR_LOCK, NULL, ECO_PARAMS(eco_p_str(id)));
}

eco_status registry_operator_count_others(eco_tx *tx, const char *id, int64_t *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_OPERATOR_COUNT_OTHERS, &rows, ECO_PARAMS(eco_p_str(id))));
  *out = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status registry_operator_list(eco_tx *tx, eco_arena *arena, const registry_page *page, registry_operators *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(
      tx, SQL_OPERATOR_LIST, &rows,
      ECO_PARAMS(eco_p_i64(page->before_us), eco_p_str(page->before_id), eco_p_i64((int64_t)page->limit + 1))));
  out->n = eco_rows_count(rows);
  out->data = eco_alloc_array(arena, out->n + 1, sizeof *out->data);
  for (size_t i = 0; i < out->n; i++) {
    Ecolink__V1__Operator *op = eco_alloc(arena, sizeof *op);
    ecolink__v1__operator__init(op);
    op->id = eco_strdup(arena, eco_row_str(rows, i, 0));
    op->name = eco_strdup(arena, eco_row_str(rows, i, 1));
    op->created_at = eco_pb_time(arena, eco_row_i64(rows, i, 2));
    out->data[i] = op;
  }
  return eco_success();
}

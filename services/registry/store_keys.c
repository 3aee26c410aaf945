// SQL of API keys.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store.h"

#define KEY_COLUMNS                                                                                     \
  "id, account_id, member_id, operator_id, name, source_tag, prefix, sha256_hex, role, expires_at_us, " \
  "rate_limit_per_minute, spend_cap_micros, last_used_at_us, revoked_at_us, created_at_us, version"
#define KEY_FIND "SELECT " KEY_COLUMNS " FROM api_keys WHERE account_id = $1 AND id = $2"

static const char SQL_KEY_INSERT[] =
    "INSERT INTO api_keys (id, account_id, member_id, operator_id, name, source_tag, prefix, sha256_hex, role,"
    " expires_at_us, rate_limit_per_minute, spend_cap_micros, created_at_us, version)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
static const char SQL_KEY_FIND[] = KEY_FIND;
static const char SQL_KEY_FIND_LOCK[] = KEY_FIND " FOR UPDATE";
static const char SQL_KEY_FIND_HASH[] = "SELECT " KEY_COLUMNS " FROM api_keys WHERE sha256_hex = $1";
static const char SQL_KEY_COUNT[] = "SELECT count(*) FROM api_keys WHERE account_id = $1 AND revoked_at_us IS NULL";
static const char SQL_KEY_LIST[] = "SELECT " KEY_COLUMNS
                                   " FROM api_keys WHERE account_id = $1 AND (created_at_us, id) < ($2, $3)"
                                   " ORDER BY created_at_us DESC, id DESC LIMIT $4";
static const char SQL_KEY_REVOKE[] =
    "UPDATE api_keys SET revoked_at_us = $2, version = version + 1 WHERE id = $1 RETURNING version";
static const char SQL_KEY_OF_MEMBER[] =
    "SELECT " KEY_COLUMNS " FROM api_keys WHERE member_id = $1 AND revoked_at_us IS NULL ORDER BY id FOR UPDATE";
static const char SQL_KEY_OF_OPERATOR[] =
    "SELECT " KEY_COLUMNS " FROM api_keys WHERE operator_id = $1 AND revoked_at_us IS NULL ORDER BY id FOR UPDATE";
static const char SQL_KEY_AFTER[] = "SELECT " KEY_COLUMNS " FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2";
// The minute's start is stored: a key is written at most once per minute however many gateways report it.
static const char SQL_KEY_TOUCH[] =
    "UPDATE api_keys SET last_used_at_us = used.at FROM unnest($1::text[], $2::bigint[]) AS used(id, at)"
    " WHERE api_keys.id = used.id AND coalesce(api_keys.last_used_at_us, 0) < used.at";

static const char *or_null(const char *s) {
  return s[0] != '\0' ? s : NULL;
}

eco_status registry_key_insert(eco_tx *tx, const registry_key *key, bool *taken) {
  ECO_TRY(eco_tx_try(
      tx, SQL_KEY_INSERT, NULL,
      ECO_PARAMS(eco_p_str(key->id), eco_p_str(or_null(key->account_id)), eco_p_str(or_null(key->member_id)),
                 eco_p_str(or_null(key->operator_id)), eco_p_str(key->name), eco_p_str(key->source_tag),
                 eco_p_str(key->prefix), eco_p_str(key->sha256_hex), eco_p_i64(key->role),
                 eco_p_i64_or_null(key->expires_at_us), eco_p_i64(key->rate_limit_per_minute),
                 eco_p_i64_or_null(key->spend_cap_micros), eco_p_i64(key->created_at_us), eco_p_i64(key->version))));
  const char *violated = eco_tx_violated(tx);
  *taken = violated != NULL;
  if (violated != NULL && strcmp(violated, "api_keys_sha256") != 0) {
    return eco_error(ECO_INTERNAL, "a key row was refused by %s", violated);
  }
  return eco_success();
}

static void read_key(eco_arena *arena, const eco_rows *rows, size_t row, registry_key *k) {
  *k = (registry_key){
      .id = eco_strdup(arena, eco_row_str(rows, row, 0)),
      .account_id = eco_strdup(arena, eco_row_str(rows, row, 1)),
      .member_id = eco_strdup(arena, eco_row_str(rows, row, 2)),
      .operator_id = eco_strdup(arena, eco_row_str(rows, row, 3)),
      .name = eco_strdup(arena, eco_row_str(rows, row, 4)),
      .source_tag = eco_strdup(arena, eco_row_str(rows, row, 5)),
      .prefix = eco_strdup(arena, eco_row_str(rows, row, 6)),
      .role = (Ecolink__V1__Role)eco_row_i64(rows, row, 8),
      .expires_at_us = eco_row_i64(rows, row, 9),
      .rate_limit_per_minute = (int32_t)eco_row_i64(rows, row, 10),
      .spend_cap_micros = eco_row_i64(rows, row, 11),
      .last_used_at_us = eco_row_i64(rows, row, 12),
      .revoked_at_us = eco_row_i64(rows, row, 13),
      .created_at_us = eco_row_i64(rows, row, 14),
      .version = eco_row_i64(rows, row, 15),
  };
  (void)snprintf(k->sha256_hex, sizeof k->sha256_hex, "%s", eco_row_str(rows, row, 7));
}

static void read_keys(eco_arena *arena, const eco_rows *rows, registry_keys *out) {
  out->n = eco_rows_count(rows);
  out->data = eco_alloc_array(arena, out->n + 1, sizeof *out->data);
  for (size_t i = 0; i < out->n; i++) {
    read_key(arena, rows, i, &out->data[i]);
  }
}

static registry_key *first_key(eco_arena *arena, const eco_rows *rows) {
  registry_keys found;
  read_keys(arena, rows, &found);
  return found.n > 0 ? &found.data[0] : NULL;
}

eco_status registry_key_find(eco_tx *tx, eco_arena *arena, const char *account_id, const char *id, bool lock,
                             registry_key **out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, lock ? SQL_KEY_FIND_LOCK : SQL_KEY_FIND, &rows,
                      ECO_PARAMS(eco_p_str(account_id), eco_p_str(id))));
  *out = first_key(arena, rows);
  return eco_success();
}

eco_status registry_key_find_hash(eco_tx *tx, eco_arena *arena, const char *sha256_hex, registry_key **out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_KEY_FIND_HASH, &rows, ECO_PARAMS(eco_p_str(sha256_hex))));
  *out = first_key(arena, rows);
  return eco_success();
}

eco_status registry_key_count(eco_tx *tx, const char *account_id, int64_t *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_KEY_COUNT, &rows, ECO_PARAMS(eco_p_str(account_id))));
  *out = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status registry_key_list(eco_tx *tx, eco_arena *arena, const char *account_id, const registry_page *page,
                             registry_keys *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_KEY_LIST, &rows,
                      ECO_PARAMS(eco_p_str(account_id), eco_p_i64(page->before_us), eco_p_str(page->before_id),
                                 eco_p_i64((int64_t)page->limit + 1))));
  read_keys(arena, rows, out);
  return eco_success();
}

eco_status registry_key_revoke(eco_tx *tx, registry_key *key, int64_t now_us) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_KEY_REVOKE, &rows, ECO_PARAMS(eco_p_str(key->id), eco_p_i64(now_us))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_INTERNAL, "key %s is gone while it was locked", key->id);
  }
  key->revoked_at_us = now_us;
  key->version = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status registry_key_of_member_lock(eco_tx *tx, eco_arena *arena, const char *member_id, registry_keys *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_KEY_OF_MEMBER, &rows, ECO_PARAMS(eco_p_str(member_id))));
  read_keys(arena, rows, out);
  return eco_success();
}

eco_status registry_key_of_operator_lock(eco_tx *tx, eco_arena *arena, const char *operator_id, registry_keys *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_KEY_OF_OPERATOR, &rows, ECO_PARAMS(eco_p_str(operator_id))));
  read_keys(arena, rows, out);
  return eco_success();
}

eco_status registry_key_after(eco_tx *tx, eco_arena *arena, const char *after_id, int limit, registry_keys *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_KEY_AFTER, &rows, ECO_PARAMS(eco_p_str(after_id), eco_p_i64(limit))));
  read_keys(arena, rows, out);
  return eco_success();
}

eco_status registry_key_touch(eco_tx *tx, eco_arena *arena, const char *const *key_ids, const int64_t *used_at_us,
                              size_t n) {
  if (n == 0) {
    return eco_success();
  }
  // PostgreSQL array literals. Ids hold no byte that needs quoting there: eco_id_is was asked by the caller.
  size_t cap = n * (ECO_ID_MAX + 1) + 3;
  char *ids = eco_alloc(arena, cap);
  char *times = eco_alloc(arena, cap);
  size_t ids_len = 0;
  size_t times_len = 0;
  for (size_t i = 0; i < n; i++) {
    char separator = i == 0 ? '{' : ',';
    ids_len += (size_t)snprintf(ids + ids_len, cap - ids_len, "%c%s", separator, key_ids[i]);
    times_len += (size_t)snprintf(times + times_len, cap - times_len, "%c%" PRId64, separator, used_at_us[i]);
  }
  memcpy(ids + ids_len, "}", 2);
  memcpy(times + times_len, "}", 2);
  return eco_tx_exec(tx, SQL_KEY_TOUCH, NULL, ECO_PARAMS(eco_p_str(ids), eco_p_str(times)));
}

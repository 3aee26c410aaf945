// SQL of members and invites.
#include "ecolink/lists.h"
#include "store.h"

#define MEMBER_COLUMNS "id, account_id, email, role, created_at_us"

static const char SQL_MEMBER_INSERT[] =
    "INSERT INTO members (id, account_id, email, role, created_at_us) VALUES ($1, $2, $3, $4, $5)";
static const char SQL_MEMBER_FIND[] =
    "SELECT " MEMBER_COLUMNS " FROM members WHERE account_id = $1 AND id = $2 AND deleted_at_us IS NULL";
static const char SQL_MEMBER_EMAIL[] =
    "SELECT 1 FROM members WHERE account_id = $1 AND email = $2 AND deleted_at_us IS NULL";
static const char SQL_MEMBER_COUNT[] =
    "SELECT count(*), count(*) FILTER (WHERE role = 1) FROM members WHERE account_id = $1 AND deleted_at_us IS NULL";
static const char SQL_MEMBER_DELETE[] = "UPDATE members SET deleted_at_us = $2 WHERE account_id = $1 AND id = $3";
static const char SQL_MEMBER_LIST[] = "SELECT " MEMBER_COLUMNS
                                      " FROM members WHERE account_id = $1 AND (created_at_us, id) < ($2, $3)"
                                      " AND deleted_at_us IS NULL ORDER BY created_at_us DESC, id DESC LIMIT $4";

static const char SQL_INVITE_INSERT[] =
    "INSERT INTO invites (id, account_id, email, role, token_sha256_hex, expires_at_us, created_at_us)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7)";
static const char SQL_INVITE_SUPERSEDE[] =
    "DELETE FROM invites WHERE account_id = $1 AND accepted_at_us IS NULL AND (email = $2 OR expires_at_us <= $3)";
static const char SQL_INVITE_COUNT[] = "SELECT count(*) FROM invites WHERE account_id = $1 AND accepted_at_us IS NULL";
#define INVITE_FIND                                                                                      \
  "SELECT id, account_id, email, role, expires_at_us, accepted_at_us, created_at_us FROM invites WHERE " \
  "token_sha256_hex = $1"
static const char SQL_INVITE_FIND[] = INVITE_FIND;
static const char SQL_INVITE_FIND_LOCK[] = INVITE_FIND " FOR UPDATE";
static const char SQL_INVITE_ACCEPT[] = "UPDATE invites SET accepted_at_us = $2 WHERE id = $1";

eco_status registry_member_insert(eco_tx *tx, const Ecolink__V1__Member *member, bool *taken) {
  ECO_TRY(eco_tx_try(tx, SQL_MEMBER_INSERT, NULL,
                     ECO_PARAMS(eco_p_str(member->id), eco_p_str(member->account_id), eco_p_str(member->email),
                                eco_p_i64(member->role), eco_p_i64(member->created_at->micros))));
  *taken = eco_tx_violated(tx) != NULL;
  return eco_success();
}

static Ecolink__V1__Member *read_member(eco_arena *arena, const eco_rows *rows, size_t row) {
  Ecolink__V1__Member *m = eco_alloc(arena, sizeof *m);
  ecolink__v1__member__init(m);
  m->id = eco_strdup(arena, eco_row_str(rows, row, 0));
  m->account_id = eco_strdup(arena, eco_row_str(rows, row, 1));
  m->email = eco_strdup(arena, eco_row_str(rows, row, 2));
  m->role = (Ecolink__V1__Role)eco_row_i64(rows, row, 3);
  m->created_at = eco_pb_time(arena, eco_row_i64(rows, row, 4));
  return m;
}

eco_status registry_member_find(eco_tx *tx, eco_arena *arena, const char *account_id, const char *id,
                                Ecolink__V1__Member **out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_MEMBER_FIND, &rows, ECO_PARAMS(eco_p_str(account_id), eco_p_str(id))));
  *out = eco_rows_count(rows) > 0 ? read_member(arena, rows, 0) : NULL;
  return eco_success();
}

eco_status registry_member_email_exists(eco_tx *tx, const char *account_id, const char *email, bool *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_MEMBER_EMAIL, &rows, ECO_PARAMS(eco_p_str(account_id), eco_p_str(email))));
  *out = eco_rows_count(rows) > 0;
  return eco_success();
}

eco_status registry_member_count(eco_tx *tx, const char *account_id, int64_t *members, int64_t *owners) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_MEMBER_COUNT, &rows, ECO_PARAMS(eco_p_str(account_id))));
  *members = eco_row_i64(rows, 0, 0);
  *owners = eco_row_i64(rows, 0, 1);
  return eco_success();
}

eco_status registry_member_delete(eco_tx *tx, const registry_owned *what, int64_t now_us) {
  return eco_tx_exec(tx, SQL_MEMBER_DELETE, NULL,
                     ECO_PARAMS(eco_p_str(what->account_id), eco_p_i64(now_us), eco_p_str(what->id)));
}

eco_status registry_member_list(eco_tx *tx, eco_arena *arena, const char *account_id, const registry_page *page,
                                registry_members *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_MEMBER_LIST, &rows,
                      ECO_PARAMS(eco_p_str(account_id), eco_p_i64(page->before_us), eco_p_str(page->before_id),
                                 eco_p_i64((int64_t)page->limit + 1))));
  out->n = eco_rows_count(rows);
  out->data = eco_alloc_array(arena, out->n + 1, sizeof *out->data);
  for (size_t i = 0; i < out->n; i++) {
    out->data[i] = read_member(arena, rows, i);
  }
  return eco_success();
}

eco_status registry_invite_insert(eco_tx *tx, const Ecolink__V1__Invite *invite, const char *token_hash) {
  return eco_tx_exec(tx, SQL_INVITE_INSERT, NULL,
                     ECO_PARAMS(eco_p_str(invite->id), eco_p_str(invite->account_id), eco_p_str(invite->email),
                                eco_p_i64(invite->role), eco_p_str(token_hash), eco_p_i64(invite->expires_at->micros),
                                eco_p_i64(invite->created_at->micros)));
}

eco_status registry_invite_supersede(eco_tx *tx, const char *account_id, const char *email, int64_t now_us) {
  return eco_tx_exec(tx, SQL_INVITE_SUPERSEDE, NULL,
                     ECO_PARAMS(eco_p_str(account_id), eco_p_str(email), eco_p_i64(now_us)));
}

eco_status registry_invite_count(eco_tx *tx, const char *account_id, int64_t *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_INVITE_COUNT, &rows, ECO_PARAMS(eco_p_str(account_id))));
  *out = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status registry_invite_find(eco_tx *tx, eco_arena *arena, const char *token_hash, bool lock,
                                Ecolink__V1__Invite **out) {
  eco_rows *rows = NULL;
  *out = NULL;
  ECO_TRY(eco_tx_exec(tx, lock ? SQL_INVITE_FIND_LOCK : SQL_INVITE_FIND, &rows, ECO_PARAMS(eco_p_str(token_hash))));
  if (eco_rows_count(rows) == 0) {
    return eco_success();
  }
  Ecolink__V1__Invite *v = eco_alloc(arena, sizeof *v);
  ecolink__v1__invite__init(v);
  v->id = eco_strdup(arena, eco_row_str(rows, 0, 0));
  v->account_id = eco_strdup(arena, eco_row_str(rows, 0, 1));
  v->email = eco_strdup(arena, eco_row_str(rows, 0, 2));
  v->role = (Ecolink__V1__Role)eco_row_i64(rows, 0, 3);
  v->expires_at = eco_pb_time_or_null(arena, eco_row_i64(rows, 0, 4));
  v->accepted_at = eco_pb_time_or_null(arena, eco_row_i64(rows, 0, 5));
  v->created_at = eco_pb_time(arena, eco_row_i64(rows, 0, 6));
  *out = v;
  return eco_success();
}

eco_status registry_invite_accept(eco_tx *tx, const char *id, int64_t now_us) {
  return eco_tx_exec(tx, SQL_INVITE_ACCEPT, NULL, ECO_PARAMS(eco_p_str(id), eco_p_i64(now_us)));
}

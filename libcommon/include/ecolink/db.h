// PostgreSQL: a bounded pool of libpq connections that reconnects, transactions, parameters and rows.
//
//   eco_tx *tx;  ECO_TRY(eco_tx_begin(db, &tx));
//   eco_rows *rows;
//   st = eco_tx_exec(tx, "SELECT name FROM models WHERE id = $1", &rows, ECO_PARAMS(eco_p_str(id)));
//   ... eco_row_str(rows, 0, 0) ...
//   eco_tx_commit(tx) or eco_tx_rollback(tx)          (each ends the tx: do not touch it again)
//
// Rows belong to their transaction and are valid until it ends: copy what must outlive it. The pool is for any thread,
// a transaction for one at a time. Errors: lost connection, serialization failure, deadlock, full disk, shutdown,
// timeouts -> CONTROL_PLANE_UNAVAILABLE (transient); anything else INTERNAL. A unique violation is told by
// eco_tx_violated().
#ifndef ECOLINK_DB_H
#define ECOLINK_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/arena.h"
#include "ecolink/status.h"

typedef struct eco_db eco_db;
typedef struct eco_tx eco_tx;
typedef struct eco_rows eco_rows;

typedef struct eco_param {
  enum { ECO_P_NULL, ECO_P_I64, ECO_P_BOOL, ECO_P_STR, ECO_P_BYTES } kind;
  int64_t i64;
  const void *ptr;
  size_t len;
} eco_param;

static inline eco_param eco_p_null(void) {
  return (eco_param){.kind = ECO_P_NULL};
}
static inline eco_param eco_p_i64(int64_t v) {
  return (eco_param){.kind = ECO_P_I64, .i64 = v};
}
static inline eco_param eco_p_bool(bool v) {
  return (eco_param){.kind = ECO_P_BOOL, .i64 = v};
}
// NULL gives SQL NULL; the string is borrowed during the call.
static inline eco_param eco_p_str(const char *s) {
  return (eco_param){.kind = s ? ECO_P_STR : ECO_P_NULL, .ptr = s};
}
static inline eco_param eco_p_bytes(const void *p, size_t n) {
  return (eco_param){.kind = ECO_P_BYTES, .ptr = p, .len = n};
}
// NULL when the id is 0 or the time unset.
static inline eco_param eco_p_i64_or_null(int64_t v) {
  return v ? eco_p_i64(v) : eco_p_null();
}

#define ECO_PARAMS(...) (const eco_param[]){__VA_ARGS__}, sizeof((const eco_param[]){__VA_ARGS__}) / sizeof(eco_param)
#define ECO_NO_PARAMS NULL, 0

// `url` is a libpq connection string; `schema` becomes the search_path; at most `max_connections` are open, a caller
// waits up to wait_ms for one. Does not connect yet.
ECO_CHECKED eco_status eco_db_open(const char *url, const char *schema, int max_connections, int wait_ms, eco_db **out);
void eco_db_close(eco_db *db);  // all transactions must have ended
bool eco_db_ready(eco_db *db);  // SELECT 1; waits as any transaction does

ECO_CHECKED eco_status eco_tx_begin(eco_db *db, eco_tx **out);
ECO_CHECKED eco_status
eco_tx_commit(eco_tx *tx);         // on failure the transaction is gone as well: it may or may not have committed
void eco_tx_rollback(eco_tx *tx);  // NULL is fine
// `rows` may be NULL when they are of no interest. SQL types: text, bigint/int, bool, bytea come and go by the
// constructors.
ECO_CHECKED eco_status eco_tx_exec(eco_tx *tx, const char *sql, eco_rows **rows, const eco_param *params, size_t n);
// As eco_tx_exec, but an integrity violation leaves the transaction usable (savepoint) and is told by eco_tx_violated.
ECO_CHECKED eco_status eco_tx_try(eco_tx *tx, const char *sql, eco_rows **rows, const eco_param *params, size_t n);
// Name of the constraint that the last eco_tx_try violated, or NULL. eco_tx_try returned success then, with no rows.
const char *eco_tx_violated(const eco_tx *tx);

size_t eco_rows_count(const eco_rows *rows);
size_t eco_rows_affected(const eco_rows *rows);
bool eco_row_null(const eco_rows *rows, size_t row, int column);
int64_t eco_row_i64(const eco_rows *rows, size_t row, int column);  // 0 for NULL
bool eco_row_bool(const eco_rows *rows, size_t row, int column);
const char *eco_row_str(const eco_rows *rows, size_t row, int column);  // "" for NULL; borrowed
// Decoded bytea in the arena.
void eco_row_bytes(const eco_rows *rows, size_t row, int column, eco_arena *arena, uint8_t **out, size_t *len);

// ---- migrations: forward only, embedded in the binary, applied in order under an advisory lock ----
typedef struct eco_migration {
  const char *name;  // "0001_init"
  const char *sql;
} eco_migration;
// Connects as the schema's owner with `url` and applies what is missing; the kit's own tables first. Ends with name
// NULL.
ECO_CHECKED eco_status eco_db_migrate(const char *url, const char *schema, const eco_migration *migrations);

#endif

// Transactions: statements with typed parameters, rows that live as long as the transaction, errors sorted into those
// that pass by themselves and those that do not.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "db_internal.h"
#include "ecolink/crash.h"

enum { TX_MAX_PARAMS = 64, TX_CONSTRAINT_MAX = 64, BYTEA_OID = 17 };

struct eco_rows {
  PGresult *res;
  eco_rows *next;  // the transaction's list
};

struct eco_tx {
  eco_db *db;
  int slot;
  PGconn *conn;
  eco_rows *rows;
  bool violated;
  char constraint[TX_CONSTRAINT_MAX];
};

eco_tx *tx_new(eco_db *db, int slot, PGconn *conn) {
  eco_tx *tx = calloc(1, sizeof *tx);
  if (tx != NULL) {
    *tx = (eco_tx){.db = db, .slot = slot, .conn = conn};
  }
  return tx;
}

// SQLSTATE classes that pass by themselves: connection (08), rollback for serialization or deadlock (40), resources and
// full disk (53), operator intervention and timeouts (57), lock not available (55P03), idle-in-transaction timeout
// (25P03), a server that became a standby (25006), I/O error (58).
static bool sqlstate_transient(const char *state) {
  static const char *const classes[] = {"08", "40", "53", "57", "58"};
  for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
    if (strncmp(state, classes[i], 2) == 0) {
      return true;
    }
  }
  return strcmp(state, "55P03") == 0 || strcmp(state, "25P03") == 0 || strcmp(state, "25006") == 0;
}

eco_status db_result_error(PGconn *conn, const PGresult *res) {
  const char *state = res != NULL ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
  if (state == NULL || PQstatus(conn) != CONNECTION_OK || sqlstate_transient(state)) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "database: %s", PQerrorMessage(conn));
  }
  // The primary message alone: the detail may quote a row's values.
  const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
  return eco_error(ECO_INTERNAL, "database: %s (%s)", text != NULL ? text : "statement failed", state);
}

// Parameters as libpq wants them. Integers are rendered into `text`.
typedef struct bound_params {
  Oid types[TX_MAX_PARAMS];
  const char *values[TX_MAX_PARAMS];
  int lengths[TX_MAX_PARAMS];
  int formats[TX_MAX_PARAMS];
  char text[TX_MAX_PARAMS][24];
} bound_params;

static void bind_one(bound_params *b, size_t i, const eco_param *p) {
  b->types[i] = 0;
  b->lengths[i] = 0;
  b->formats[i] = 0;
  b->values[i] = NULL;
  switch (p->kind) {
    case ECO_P_NULL:
      break;
    case ECO_P_I64:
      snprintf(b->text[i], sizeof b->text[i], "%" PRId64, p->i64);
      b->values[i] = b->text[i];
      break;
    case ECO_P_BOOL:
      b->values[i] = p->i64 ? "t" : "f";
      break;
    case ECO_P_STR:
      b->values[i] = p->ptr;
      break;
    case ECO_P_BYTES:
      b->types[i] = BYTEA_OID;
      b->values[i] = p->len > 0 ? p->ptr : "";
      b->lengths[i] = (int)p->len;
      b->formats[i] = 1;
      break;
  }
}

static eco_status keep_rows(eco_tx *tx, PGresult *res, eco_rows **out) {
  eco_rows *rows = calloc(1, sizeof *rows);
  if (rows == NULL) {
    PQclear(res);
    return eco_error(ECO_INTERNAL, "rows: out of memory");
  }
  *rows = (eco_rows){.res = res, .next = tx->rows};
  tx->rows = rows;
  *out = rows;
  return eco_success();
}

static PGresult *run(eco_tx *tx, const char *sql, const eco_param *params, size_t n) {
  bound_params bound;
  for (size_t i = 0; i < n; i++) {
    bind_one(&bound, i, &params[i]);
  }
  return PQexecParams(tx->conn, sql, (int)n, bound.types, bound.values, bound.lengths, bound.formats, 0);
}

static bool result_good(const PGresult *res) {
  ExecStatusType s = PQresultStatus(res);
  return s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK;
}

eco_status eco_tx_exec(eco_tx *tx, const char *sql, eco_rows **rows, const eco_param *params, size_t n) {
  if (rows != NULL) {
    *rows = NULL;
  }
  if (n > TX_MAX_PARAMS) {
    return eco_error(ECO_INTERNAL, "statement with %zu parameters (at most %d)", n, TX_MAX_PARAMS);
  }
  PGresult *res = run(tx, sql, params, n);
  if (!result_good(res)) {
    eco_status st = db_result_error(tx->conn, res);
    PQclear(res);
    return st;
  }
  if (rows == NULL) {
    PQclear(res);
    return eco_success();
  }
  return keep_rows(tx, res, rows);
}

eco_status eco_tx_try(eco_tx *tx, const char *sql, eco_rows **rows, const eco_param *params, size_t n) {
  tx->violated = false;
  if (rows != NULL) {
    *rows = NULL;
  }
  ECO_TRY(eco_tx_exec(tx, "SAVEPOINT eco_try", NULL, ECO_NO_PARAMS));
  PGresult *res = n <= TX_MAX_PARAMS ? run(tx, sql, params, n) : NULL;
  const char *state = res != NULL ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
  if (state != NULL && strncmp(state, "23", 2) == 0) {
    const char *constraint = PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME);
    snprintf(tx->constraint, sizeof tx->constraint, "%s", constraint != NULL ? constraint : "");
    tx->violated = true;
    PQclear(res);
    return eco_tx_exec(tx, "ROLLBACK TO SAVEPOINT eco_try", NULL, ECO_NO_PARAMS);
  }
  if (!result_good(res)) {
    eco_status st = db_result_error(tx->conn, res);
    PQclear(res);
    return st;
  }
  eco_rows *kept = NULL;
  ECO_TRY(keep_rows(tx, res, &kept));
  if (rows != NULL) {
    *rows = kept;
  }
  return eco_tx_exec(tx, "RELEASE SAVEPOINT eco_try", NULL, ECO_NO_PARAMS);
}

const char *eco_tx_violated(const eco_tx *tx) {
  return tx->violated ? tx->constraint : NULL;
}

static void tx_end(eco_tx *tx, bool broken) {
  while (tx->rows != NULL) {
    eco_rows *next = tx->rows->next;
    PQclear(tx->rows->res);
    free(tx->rows);
    tx->rows = next;
  }
  db_slot_return(tx->db, tx->slot, broken || PQstatus(tx->conn) != CONNECTION_OK);
  free(tx);
}

eco_status eco_tx_commit(eco_tx *tx) {
  PGresult *res = PQexec(tx->conn, "COMMIT");
  eco_status st = eco_success();
  if (!result_good(res)) {
    st = db_result_error(tx->conn, res);
  } else if (strcmp(PQcmdStatus(res), "COMMIT") != 0) {
    // A statement failed earlier and its caller went on: PostgreSQL answers ROLLBACK.
    st = eco_error(ECO_INTERNAL, "database: the transaction had failed and was rolled back");
  }
  PQclear(res);
  tx_end(tx, !eco_ok(st));
  if (eco_ok(st)) {
    ECO_CRASH_POINT("kit.tx.committed");
  }
  return st;
}

void eco_tx_rollback(eco_tx *tx) {
  if (tx == NULL) {
    return;
  }
  PGresult *res = PQexec(tx->conn, "ROLLBACK");
  bool good = result_good(res);
  PQclear(res);
  tx_end(tx, !good);
}

size_t eco_rows_count(const eco_rows *rows) {
  return rows != NULL ? (size_t)PQntuples(rows->res) : 0;
}

size_t eco_rows_affected(const eco_rows *rows) {
  if (rows == NULL) {
    return 0;
  }
  // PQcmdTuples is "" for statements that touch no rows.
  return (size_t)strtoull(PQcmdTuples(rows->res), NULL, 10);
}

bool eco_row_null(const eco_rows *rows, size_t row, int column) {
  return PQgetisnull(rows->res, (int)row, column) == 1;
}

int64_t eco_row_i64(const eco_rows *rows, size_t row, int column) {
  if (eco_row_null(rows, row, column)) {
    return 0;
  }
  return strtoll(PQgetvalue(rows->res, (int)row, column), NULL, 10);
}

bool eco_row_bool(const eco_rows *rows, size_t row, int column) {
  return PQgetvalue(rows->res, (int)row, column)[0] == 't';
}

const char *eco_row_str(const eco_rows *rows, size_t row, int column) {
  return PQgetvalue(rows->res, (int)row, column);
}

void eco_row_bytes(const eco_rows *rows, size_t row, int column, eco_arena *arena, uint8_t **out, size_t *len) {
  size_t n = 0;
  unsigned char *raw = PQunescapeBytea((const unsigned char *)PQgetvalue(rows->res, (int)row, column), &n);
  *out = raw != NULL ? eco_memdup(arena, raw, n) : eco_alloc(arena, 1);
  *len = raw != NULL ? n : 0;
  PQfreemem(raw);
}

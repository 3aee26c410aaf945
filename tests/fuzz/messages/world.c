// Replaces the kit's db.c, db_tx.c, rpc_client.c and sleeping for the fuzzer (the linker takes the first definition).
#include "world.h"

#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/db.h"
#include "kit.h"

enum { ROWS_MAX = 3, TEXT_COUNT = 16 };

struct eco_tx {
  uint64_t unused;
};
struct eco_rows {
  size_t count;
  size_t affected;
  uint64_t seed;
};

// Two transactions at once would be a fault of their own: a handler has one.
enum { TX_MAX = 4, RESULTS_MAX = 4096 };
static struct eco_tx txs[TX_MAX];
static bool open_tx[TX_MAX];
static struct eco_rows results[RESULTS_MAX];
static size_t n_results;
static uint64_t state;
static const char *violated;

static uint64_t next(void) {
  uint64_t z = (state += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

static void require(bool ok) {
  if (!ok) {
    abort();
  }
}

void world_begin(uint64_t seed) {
  state = seed;
  n_results = 0;
  violated = NULL;
}

void world_end(void) {
  for (size_t i = 0; i < TX_MAX; i++) {
    require(!open_tx[i]);
  }
}

static bool *slot_of(const eco_tx *tx) {
  require(tx >= txs && tx < txs + TX_MAX);
  return &open_tx[tx - txs];
}

eco_status eco_tx_begin(eco_db *db, eco_tx **out) {
  (void)db;
  for (size_t i = 0; i < TX_MAX; i++) {
    if (!open_tx[i]) {
      if (next() % 64 == 0) {
        return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "database: away");
      }
      open_tx[i] = true;
      *out = &txs[i];
      return eco_success();
    }
  }
  abort();
}

eco_status eco_tx_commit(eco_tx *tx) {
  bool *open = slot_of(tx);
  require(*open);
  *open = false;
  return next() % 64 == 0 ? eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "database: away") : eco_success();
}

void eco_tx_rollback(eco_tx *tx) {
  if (tx != NULL) {
    bool *open = slot_of(tx);
    require(*open);
    *open = false;
  }
}

// Whether a FROM stands outside of all brackets.
static bool reads_a_table(const char *sql) {
  int depth = 0;
  for (const char *p = sql; *p != '\0'; p++) {
    depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
    if (depth == 0 && strncmp(p, " FROM ", 6) == 0) {
      return true;
    }
  }
  return false;
}

// What PostgreSQL answers with exactly one row, whatever lies in its tables.
static bool has_one_row(const char *sql) {
  static const char *const LISTS[] = {"SELECT count(",    "SELECT EXISTS",   "SELECT NOT EXISTS", "SELECT coalesce(",
                                      "SELECT COALESCE(", "SELECT max(",     "SELECT min(",       "SELECT sum(",
                                      "SELECT nextval(",  "SELECT greatest("};
  for (size_t i = 0; i < sizeof LISTS / sizeof LISTS[0]; i++) {
    if (strncmp(sql, LISTS[i], strlen(LISTS[i])) == 0) {
      return strstr(sql, "GROUP BY") == NULL;
    }
  }
  if (strncmp(sql, "SELECT ", 7) == 0 && !reads_a_table(sql)) {
    return true;
  }
  return strncmp(sql, "INSERT", 6) == 0 && strstr(sql, "RETURNING") != NULL && strstr(sql, "DO NOTHING") == NULL &&
         strstr(sql, "WHERE") == NULL && strstr(sql, "SELECT") == NULL;
}

eco_status eco_tx_exec(eco_tx *tx, const char *sql, eco_rows **rows, const eco_param *params, size_t n) {
  require(*slot_of(tx) && sql != NULL && n_results < RESULTS_MAX);
  for (size_t i = 0; i < n; i++) {  // what is passed must be readable
    if (params[i].kind == ECO_P_STR) {
      require(strlen(params[i].ptr) < SIZE_MAX);
    } else if (params[i].kind == ECO_P_BYTES && params[i].len > 0) {
      volatile uint8_t last = ((const uint8_t *)params[i].ptr)[params[i].len - 1];
      (void)last;
    }
  }
  const uint64_t dice = next();
  if (dice % 128 == 0) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "database: away");
  }
  eco_rows *r = &results[n_results++];
  *r = (eco_rows){.count = (dice >> 8) % (ROWS_MAX + 1), .affected = (dice >> 16) % 4 != 0, .seed = next()};
  if (has_one_row(sql)) {
    r->count = 1;
    r->affected = 1;
  }
  if (rows != NULL) {
    *rows = r;
  }
  return eco_success();
}

eco_status eco_tx_try(eco_tx *tx, const char *sql, eco_rows **rows, const eco_param *params, size_t n) {
  violated = next() % 8 == 0 ? "a_constraint" : NULL;
  eco_status st = eco_tx_exec(tx, sql, rows, params, n);
  if (violated != NULL && rows != NULL && eco_ok(st)) {
    (*rows)->count = 0;
    (*rows)->affected = 0;
  }
  return st;
}

const char *eco_tx_violated(const eco_tx *tx) {
  require(*slot_of(tx));
  return violated;
}

size_t eco_rows_count(const eco_rows *rows) {
  return rows->count;
}

size_t eco_rows_affected(const eco_rows *rows) {
  return rows->affected;
}

static uint64_t cell(const eco_rows *rows, size_t row, int column) {
  require(row < rows->count && column >= 0 && column < 64);
  uint64_t z = rows->seed ^ ((uint64_t)row << 32) ^ (uint64_t)column * UINT64_C(0xD6E8FEB86659FD93);
  z = (z ^ (z >> 32)) * UINT64_C(0xD6E8FEB86659FD93);
  return z ^ (z >> 32);
}

bool eco_row_null(const eco_rows *rows, size_t row, int column) {
  return cell(rows, row, column) % 16 == 0;
}

int64_t eco_row_i64(const eco_rows *rows, size_t row, int column) {
  static const int64_t VALUES[] = {0, 1, 2, 3, 7, 60, 100, 3600, 86400, 1600000};
  const uint64_t z = cell(rows, row, column);
  // small: what is stored has passed the bounds of its column and the sums made of it do not overflow
  return VALUES[(z >> 8) % (sizeof VALUES / sizeof VALUES[0])];
}

bool eco_row_bool(const eco_rows *rows, size_t row, int column) {
  return (cell(rows, row, column) >> 8) % 2 == 1;
}

const char *eco_row_str(const eco_rows *rows, size_t row, int column) {
  static const char *const VALUES[TEXT_COUNT] = {
      "",        "running", "done",  "pending", "open",           "eu-north", "us-east",   "l40s",
      "process", "owner",   "model", "stopped", "acc_0123456789", "my-llama", "/generate", "huggingface"};
  return VALUES[(cell(rows, row, column) >> 8) % TEXT_COUNT];
}

void eco_row_bytes(const eco_rows *rows, size_t row, int column, eco_arena *arena, uint8_t **out, size_t *len) {
  const uint64_t z = cell(rows, row, column);
  *len = (z >> 8) % 4 == 0 ? 32 : 0;  // a hash, or an empty message
  *out = eco_alloc(arena, *len + 1);
  memset(*out, (int)(z >> 16) % 8, *len + 1);
}

// ---- neighbours, and waiting ----
eco_status eco_rpc_call(eco_ctx *ctx, const char *method, const ProtobufCMessage *request,
                        const ProtobufCMessageDescriptor *reply_type, int timeout_ms, void *reply_out_ptr) {
  (void)method;
  (void)timeout_ms;
  require(protobuf_c_message_check(request));
  const uint64_t dice = next() % 8;
  if (dice == 0) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "nobody answers");
  }
  if (dice == 1) {
    return eco_error(ECO_INSUFFICIENT_BALANCE, "refused");
  }
  ProtobufCMessage *reply = eco_alloc(ctx->arena, reply_type->sizeof_message);
  protobuf_c_message_init(reply_type, reply);  // a neighbour that says nothing: every field absent
  *(ProtobufCMessage **)reply_out_ptr = reply;
  return eco_success();
}

bool kit_sleep(eco_service *svc, int64_t ms) {
  (void)svc;
  (void)ms;
  return true;  // stopping: nobody waits
}

// The connection pool: a fixed number of slots, each a libpq connection that is opened on first use and again when it
// died.
#include "ecolink/db.h"

#include <errno.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "db_internal.h"
#include "ecolink/log.h"
#include "ecolink/pace.h"

enum { DB_MAX_SLOTS = 64, DB_CONNECT_TIMEOUT_S = 5, DB_SCHEMA_MAX = 64 };

typedef struct db_slot {
  PGconn *conn;
  bool busy;
} db_slot;

struct eco_db {
  char *url;
  char schema[DB_SCHEMA_MAX];
  int slot_count;
  int wait_ms;
  pthread_mutex_t lock;
  pthread_cond_t freed;
  db_slot slots[DB_MAX_SLOTS];  // guarded by lock; a busy slot's conn belongs to its transaction
};

eco_status db_connect(const char *url, const char *schema, PGconn **out) {
  // A server that vanished without a word is noticed within half a minute; what stands before dbname, the url may
  // change.
  const char *keys[] = {"keepalives_idle",
                        "keepalives_interval",
                        "keepalives_count",
                        "tcp_user_timeout",
                        "dbname",
                        "connect_timeout",
                        "application_name",
                        "client_encoding",
                        NULL};
  const char *values[] = {"10", "5", "4", "30000", url, "5", "ecolink", "UTF8", NULL};
  PGconn *conn = PQconnectdbParams(keys, values, 1);
  if (PQstatus(conn) != CONNECTION_OK) {
    // libpq's text names host and user, never the password.
    eco_status st = eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "database: %s", PQerrorMessage(conn));
    PQfinish(conn);
    return st;
  }
  char *quoted = PQescapeIdentifier(conn, schema, strlen(schema));
  char sql[512];
  int n = snprintf(sql, sizeof sql,
                   "SET search_path = %s; SET statement_timeout = '30s'; SET lock_timeout = '10s';"
                   "SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = warning;"
                   "SET synchronous_commit = on",
                   quoted != NULL ? quoted : "\"\"");
  PQfreemem(quoted);
  PGresult *res = n < (int)sizeof sql ? PQexec(conn, sql) : NULL;
  if (PQresultStatus(res) != PGRES_COMMAND_OK) {
    eco_status st = eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "database session: %s", PQerrorMessage(conn));
    PQclear(res);
    PQfinish(conn);
    return st;
  }
  PQclear(res);
  *out = conn;
  return eco_success();
}

eco_status eco_db_open(const char *url, const char *schema, int max_connections, int wait_ms, eco_db **out) {
  if (max_connections < 1 || max_connections > DB_MAX_SLOTS || strlen(schema) >= DB_SCHEMA_MAX) {
    return eco_error(ECO_INTERNAL, "database pool: 1..%d connections, a schema name under %d bytes", DB_MAX_SLOTS,
                     DB_SCHEMA_MAX);
  }
  eco_db *db = calloc(1, sizeof *db);
  char *copy = strdup(url);
  if (db == NULL || copy == NULL) {
    free(db);
    free(copy);
    return eco_error(ECO_INTERNAL, "database pool: out of memory");
  }
  db->url = copy;
  memcpy(db->schema, schema, strlen(schema) + 1);
  db->slot_count = max_connections;
  db->wait_ms = wait_ms;
  pthread_mutex_init(&db->lock, NULL);
  eco_cond_init(&db->freed);
  *out = db;
  return eco_success();
}

void eco_db_close(eco_db *db) {
  if (db == NULL) {
    return;
  }
  for (int i = 0; i < db->slot_count; i++) {
    PQfinish(db->slots[i].conn);
  }
  pthread_cond_destroy(&db->freed);
  pthread_mutex_destroy(&db->lock);
  free(db->url);
  free(db);
}

// A free slot, connected ones first. -1 when all are busy. Caller holds the lock.
static int free_slot(const eco_db *db) {
  int unconnected = -1;
  for (int i = 0; i < db->slot_count; i++) {
    if (!db->slots[i].busy && db->slots[i].conn != NULL) {
      return i;
    }
    if (!db->slots[i].busy && unconnected < 0) {
      unconnected = i;
    }
  }
  return unconnected;
}

static int take_slot(eco_db *db) {
  struct timespec deadline = eco_deadline_in(db->wait_ms);
  pthread_mutex_lock(&db->lock);
  int slot = free_slot(db);
  while (slot < 0 && pthread_cond_timedwait(&db->freed, &db->lock, &deadline) != ETIMEDOUT) {
    slot = free_slot(db);
  }
  if (slot >= 0) {
    db->slots[slot].busy = true;
  }
  pthread_mutex_unlock(&db->lock);
  return slot;
}

void db_slot_return(eco_db *db, int slot, bool broken) {
  if (broken) {
    PQfinish(db->slots[slot].conn);
    db->slots[slot].conn = NULL;
  }
  pthread_mutex_lock(&db->lock);
  db->slots[slot].busy = false;
  pthread_cond_signal(&db->freed);
  pthread_mutex_unlock(&db->lock);
}

// BEGIN on the slot's connection. A connection that died while idle is opened again, once: nothing was sent on it yet.
static eco_status begin_on_slot(eco_db *db, int slot) {
  for (int attempt = 0;; attempt++) {
    bool fresh = db->slots[slot].conn == NULL;
    if (fresh) {
      ECO_TRY(db_connect(db->url, db->schema, &db->slots[slot].conn));
    }
    PGresult *res = PQexec(db->slots[slot].conn, "BEGIN");
    bool begun = PQresultStatus(res) == PGRES_COMMAND_OK;
    PQclear(res);
    if (begun) {
      return eco_success();
    }
    eco_status st = eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "database: %s", PQerrorMessage(db->slots[slot].conn));
    PQfinish(db->slots[slot].conn);
    db->slots[slot].conn = NULL;
    if (fresh || attempt > 0) {
      return st;
    }
  }
}

eco_status eco_tx_begin(eco_db *db, eco_tx **out) {
  *out = NULL;
  int slot = take_slot(db);
  if (slot < 0) {
    return eco_error(ECO_OVERLOADED, "all %d database connections are busy", db->slot_count);
  }
  eco_status st = begin_on_slot(db, slot);
  if (!eco_ok(st)) {
    db_slot_return(db, slot, false);
    return st;
  }
  eco_tx *tx = tx_new(db, slot, db->slots[slot].conn);
  if (tx == NULL) {
    db_slot_return(db, slot, true);
    return eco_error(ECO_INTERNAL, "transaction: out of memory");
  }
  *out = tx;
  return eco_success();
}

bool eco_db_ready(eco_db *db) {
  eco_tx *tx = NULL;
  eco_status st = eco_tx_begin(db, &tx);
  if (!eco_ok(st)) {
    return false;
  }
  st = eco_tx_exec(tx, "SELECT 1", NULL, ECO_NO_PARAMS);
  eco_tx_rollback(tx);
  return eco_ok(st);
}

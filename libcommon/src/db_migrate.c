// Migrations: forward only, each in a transaction of its own, all under one advisory lock per schema.
#include <stdlib.h>
#include <string.h>

#include "db_internal.h"
#include "ecolink/clock.h"
#include "ecolink/log.h"

extern const eco_migration eco_kit_migrations[];

static const char SQL_LOCK[] = "SELECT pg_advisory_lock(hashtext('ecolink migrate ' || current_schema()))";
static const char SQL_TABLE[] =
    "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, applied_us bigint NOT NULL)";
static const char SQL_APPLIED[] = "SELECT 1 FROM schema_migrations WHERE name = $1";
static const char SQL_RECORD[] =
    "INSERT INTO schema_migrations (name, applied_us)"
    " VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";

static eco_status run_plain(PGconn *conn, const char *sql) {
  PGresult *res = PQexec(conn, sql);
  ExecStatusType s = PQresultStatus(res);
  eco_status st = s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK ? eco_success() : db_result_error(conn, res);
  PQclear(res);
  return st;
}

static eco_status run_named(PGconn *conn, const char *sql, const char *name, int *rows) {
  PGresult *res = PQexecParams(conn, sql, 1, NULL, &name, NULL, NULL, 0);
  ExecStatusType s = PQresultStatus(res);
  eco_status st = s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK ? eco_success() : db_result_error(conn, res);
  if (rows != NULL) {
    *rows = PQntuples(res);
  }
  PQclear(res);
  return st;
}

static eco_status apply_one(PGconn *conn, const char *name, const char *sql) {
  ECO_TRY(run_plain(conn, "BEGIN"));
  eco_status st = run_plain(conn, sql);
  if (eco_ok(st)) {
    st = run_named(conn, SQL_RECORD, name, NULL);
  }
  if (eco_ok(st)) {
    st = run_plain(conn, "COMMIT");
  }
  if (!eco_ok(st)) {
    eco_status undo = run_plain(conn, "ROLLBACK");
    (void)undo;  // the first failure is what matters; the session ends with it
    return eco_context(st, "migration %s", name);
  }
  eco_log(ECO_LOG_INFO, "migration applied", ECO_F_STR("name", name));
  return eco_success();
}

static eco_status apply_missing(PGconn *conn, const char *prefix, const eco_migration *migrations) {
  for (const eco_migration *m = migrations; m != NULL && m->name != NULL; m++) {
    char name[128];
    int applied = 0;
    snprintf(name, sizeof name, "%s%s", prefix, m->name);
    ECO_TRY(run_named(conn, SQL_APPLIED, name, &applied));
    if (applied == 0) {
      ECO_TRY(apply_one(conn, name, m->sql));
    }
  }
  return eco_success();
}

eco_status eco_db_migrate(const char *url, const char *schema, const eco_migration *migrations) {
  PGconn *conn = NULL;
  ECO_TRY(db_connect(url, schema, &conn));
  // Waiting for another migrator may take longer than a statement may.
  eco_status st = run_plain(conn, "SET statement_timeout = 0; SET lock_timeout = '60s'");
  if (eco_ok(st)) {
    st = run_plain(conn, SQL_LOCK);
  }
  if (eco_ok(st)) {
    st = run_plain(conn, SQL_TABLE);
  }
  if (eco_ok(st)) {
    st = apply_missing(conn, "kit/", eco_kit_migrations);
  }
  if (eco_ok(st)) {
    st = apply_missing(conn, "", migrations);
  }
  PQfinish(conn);  // releases the advisory lock
  return st;
}

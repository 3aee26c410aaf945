// The health service's SQL; the contract is in store.h.
#include "store.h"

#include "health_limits.h"

#define TARGET_COLUMNS                                                                                   \
  "id, instance_id, replica_id, region, host, port, health_path, token, run_id, probed, state, reason, " \
  "since_us, version, passive_failures, passive_successes, passive_kind"

static const char SQL_TARGET_LOCK[] = "SELECT " TARGET_COLUMNS " FROM targets WHERE id = $1 FOR UPDATE";
static const char SQL_TARGET_PUT[] =
    "INSERT INTO targets (id, instance_id, replica_id, account_id, region, host, port, health_path, token, run_id,"
    " probed, removed_at_us, state, reason, since_us, version)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
    " ON CONFLICT (id) DO UPDATE SET region = excluded.region, host = excluded.host, port = excluded.port,"
    " health_path = excluded.health_path, token = excluded.token, run_id = excluded.run_id, probed = excluded.probed,"
    " removed_at_us = excluded.removed_at_us, state = excluded.state, reason = excluded.reason,"
    " since_us = excluded.since_us, version = excluded.version";
static const char SQL_TARGET_PROBED[] = "SELECT " TARGET_COLUMNS " FROM targets WHERE probed ORDER BY id LIMIT $1";
static const char SQL_TARGET_JUDGE[] =
    "UPDATE targets SET state = $3, reason = $4, since_us = $5, version = version + 1"
    " WHERE id = $1 AND run_id = $2 AND probed RETURNING version";
static const char SQL_TARGET_REPORT[] =
    "UPDATE targets SET passive_failures = passive_failures + $2, passive_successes = passive_successes + $3,"
    " passive_kind = $4 WHERE id = $1 AND probed";
static const char SQL_TARGET_LIST[] = "SELECT " TARGET_COLUMNS
                                      " FROM targets WHERE probed AND ($1::bigint = 0 OR instance_id = $1)"
                                      " AND ($2::text IS NULL OR account_id = $2) AND (NOT $3::boolean OR state = 2)"
                                      " ORDER BY id LIMIT $4";
static const char SQL_CHANGE_INSERT[] =
    "INSERT INTO changes (target_id, run_id, state, reason, at_us) VALUES ($1, $2, $3, $4, $5)";
static const char SQL_REGION_PUT[] =
    "INSERT INTO regions (region, observed_at_us, probed) VALUES ($1, $2, $3)"
    " ON CONFLICT (region) DO UPDATE SET observed_at_us = excluded.observed_at_us, probed = excluded.probed";
static const char SQL_REGION_LIST[] = "SELECT region, observed_at_us, probed FROM regions ORDER BY region LIMIT $1";
static const char SQL_SWEEP_CHANGES[] = "DELETE FROM changes WHERE at_us < $1";
static const char SQL_SWEEP_TARGETS[] = "DELETE FROM targets WHERE removed_at_us < $1";
static const char SQL_SWEEP_REGIONS[] = "DELETE FROM regions WHERE observed_at_us < $1";

static void read_target(eco_arena *arena, const eco_rows *rows, size_t row, health_target *t) {
  *t = (health_target){
      .id = eco_strdup(arena, eco_row_str(rows, row, 0)),
      .instance_id = eco_row_i64(rows, row, 1),
      .replica_id = (int32_t)eco_row_i64(rows, row, 2),
      .region = eco_strdup(arena, eco_row_str(rows, row, 3)),
      .host = eco_strdup(arena, eco_row_str(rows, row, 4)),
      .port = (int32_t)eco_row_i64(rows, row, 5),
      .health_path = eco_strdup(arena, eco_row_str(rows, row, 6)),
      .token = eco_strdup(arena, eco_row_str(rows, row, 7)),
      .run_id = eco_strdup(arena, eco_row_str(rows, row, 8)),
      .probed = eco_row_bool(rows, row, 9),
      .state = (Ecolink__V1__HealthState)eco_row_i64(rows, row, 10),
      .reason = eco_strdup(arena, eco_row_str(rows, row, 11)),
      .since_us = eco_row_i64(rows, row, 12),
      .version = eco_row_i64(rows, row, 13),
      .passive_failures = eco_row_i64(rows, row, 14),
      .passive_successes = eco_row_i64(rows, row, 15),
      .passive_kind = eco_strdup(arena, eco_row_str(rows, row, 16)),
  };
}

static void read_targets(eco_arena *arena, const eco_rows *rows, health_target **out, size_t *n) {
  *n = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *n + 1, sizeof **out);
  for (size_t i = 0; i < *n; i++) {
    read_target(arena, rows, i, &(*out)[i]);
  }
}

eco_status health_target_lock(eco_tx *tx, eco_arena *arena, const char *id, health_target **out) {
  eco_rows *rows = NULL;
  size_t n = 0;
  ECO_TRY(eco_tx_exec(tx, SQL_TARGET_LOCK, &rows, ECO_PARAMS(eco_p_str(id))));
  read_targets(arena, rows, out, &n);
  if (n == 0) {
    *out = NULL;
  }
  return eco_success();
}

eco_status health_target_put(eco_tx *tx, const health_target *t, const char *account_id, int64_t removed_at_us) {
  return eco_tx_exec(
      tx, SQL_TARGET_PUT, NULL,
      ECO_PARAMS(eco_p_str(t->id), eco_p_i64(t->instance_id), eco_p_i64(t->replica_id), eco_p_str(account_id),
                 eco_p_str(t->region), eco_p_str(t->host), eco_p_i64(t->port), eco_p_str(t->health_path),
                 eco_p_str(t->token), eco_p_str(t->run_id), eco_p_bool(t->probed), eco_p_i64_or_null(removed_at_us),
                 eco_p_i64(t->state), eco_p_str(t->reason), eco_p_i64(t->since_us), eco_p_i64(t->version)));
}

eco_status health_target_probed(eco_tx *tx, eco_arena *arena, health_target **out, size_t *n) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_TARGET_PROBED, &rows, ECO_PARAMS(eco_p_i64(HEALTH_TARGETS_MAX))));
  read_targets(arena, rows, out, n);
  return eco_success();
}

eco_status health_target_judge(eco_tx *tx, const health_target *t, int64_t *version) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_TARGET_JUDGE, &rows,
                      ECO_PARAMS(eco_p_str(t->id), eco_p_str(t->run_id), eco_p_i64(t->state), eco_p_str(t->reason),
                                 eco_p_i64(t->since_us))));
  *version = eco_rows_count(rows) > 0 ? eco_row_i64(rows, 0, 0) : 0;
  return eco_success();
}

static int64_t bounded(int32_t count) {
  return count < 0 ? 0 : count > HEALTH_REPORT_MAX ? HEALTH_REPORT_MAX : count;
}

eco_status health_target_report(eco_tx *tx, const char *id, const Ecolink__V1__UpstreamFailure *report) {
  return eco_tx_exec(tx, SQL_TARGET_REPORT, NULL,
                     ECO_PARAMS(eco_p_str(id), eco_p_i64(bounded(report->count)), eco_p_i64(bounded(report->successes)),
                                eco_p_str(report->kind)));
}

Ecolink__V1__ReplicaHealth *health_message(eco_arena *arena, const health_target *t) {
  Ecolink__V1__ReplicaHealth *m = eco_alloc(arena, sizeof *m);
  ecolink__v1__replica_health__init(m);
  m->instance_id = t->instance_id;
  m->replica_id = t->replica_id;
  m->region = eco_strdup(arena, t->region);
  m->state = t->state;
  m->reason = eco_strdup(arena, t->reason);
  m->since_us = t->since_us;
  return m;
}

eco_status health_target_list(eco_tx *tx, eco_arena *arena, int64_t instance_id, const char *account_id,
                              bool unhealthy_only, Ecolink__V1__ReplicaHealth ***out, size_t *n) {
  eco_rows *rows = NULL;
  health_target *targets = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_TARGET_LIST, &rows,
                      ECO_PARAMS(eco_p_i64(instance_id), eco_p_str(account_id), eco_p_bool(unhealthy_only),
                                 eco_p_i64(HEALTH_LIST_MAX))));
  read_targets(arena, rows, &targets, n);
  *out = eco_alloc_array(arena, *n + 1, sizeof **out);
  for (size_t i = 0; i < *n; i++) {
    (*out)[i] = health_message(arena, &targets[i]);
  }
  return eco_success();
}

eco_status health_change_insert(eco_tx *tx, const health_target *t) {
  return eco_tx_exec(tx, SQL_CHANGE_INSERT, NULL,
                     ECO_PARAMS(eco_p_str(t->id), eco_p_str(t->run_id), eco_p_i64(t->state), eco_p_str(t->reason),
                                eco_p_i64(t->since_us)));
}

eco_status health_region_put(eco_tx *tx, const char *region, int64_t observed_at_us, int32_t probed) {
  return eco_tx_exec(tx, SQL_REGION_PUT, NULL,
                     ECO_PARAMS(eco_p_str(region), eco_p_i64(observed_at_us), eco_p_i64(probed)));
}

eco_status health_region_list(eco_tx *tx, eco_arena *arena, Ecolink__V1__RegionHealth ***out, size_t *n) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_REGION_LIST, &rows, ECO_PARAMS(eco_p_i64(HEALTH_LIST_MAX))));
  *n = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *n + 1, sizeof **out);
  for (size_t i = 0; i < *n; i++) {
    Ecolink__V1__RegionHealth *r = eco_alloc(arena, sizeof *r);
    ecolink__v1__region_health__init(r);
    r->region = eco_strdup(arena, eco_row_str(rows, i, 0));
    r->observed_at_us = eco_row_i64(rows, i, 1);
    r->probed = (int32_t)eco_row_i64(rows, i, 2);
    (*out)[i] = r;
  }
  return eco_success();
}

eco_status health_sweep(eco_tx *tx, int64_t before_us) {
  ECO_TRY(eco_tx_exec(tx, SQL_SWEEP_CHANGES, NULL, ECO_PARAMS(eco_p_i64(before_us))));
  ECO_TRY(eco_tx_exec(tx, SQL_SWEEP_TARGETS, NULL, ECO_PARAMS(eco_p_i64(before_us))));
  return eco_tx_exec(tx, SQL_SWEEP_REGIONS, NULL, ECO_PARAMS(eco_p_i64(before_us)));
}

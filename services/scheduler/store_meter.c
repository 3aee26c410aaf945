// SQL of the meter: runs, Ready intervals, watermarks.
#include "store.h"

static const char SQL_RUN_SEEN[] =
    "INSERT INTO replica_runs (instance_id, replica_id, run_id, region, first_seen_us) VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT DO NOTHING";
static const char SQL_RUN_ENDED[] =
    "UPDATE replica_runs SET ended_at_us = $4 WHERE instance_id = $1 AND replica_id = $2 AND run_id = $3 AND "
    "ended_at_us = 0";
static const char SQL_OPEN[] =
    "INSERT INTO ready_intervals (instance_id, replica_id, started_at_us, run_id, region) VALUES ($1, $2, $3, $4, $5)";
static const char SQL_CLOSE[] =
    "UPDATE ready_intervals SET ended_at_us = greatest($3, started_at_us)"
    " WHERE instance_id = $1 AND replica_id = $2 AND ended_at_us = 0";
static const char SQL_INTERVALS[] =
    "SELECT replica_id, region, run_id, started_at_us, ended_at_us FROM ready_intervals"
    " WHERE instance_id = $1 AND (ended_at_us = 0 OR ended_at_us > $2) ORDER BY started_at_us, replica_id LIMIT $3";
static const char SQL_WATERMARK[] =
    "SELECT coalesce(min(observed_until_us), 0) FROM regions WHERE name IN"
    " (SELECT region FROM replicas WHERE instance_id = $1 UNION"
    "  SELECT region FROM ready_intervals WHERE instance_id = $1 AND ended_at_us = 0)";

eco_status store_run_seen(eco_tx *tx, int64_t instance_id, const replica_row *r, const char *run_id, int64_t at_us) {
  return eco_tx_exec(
      tx, SQL_RUN_SEEN, NULL,
      ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(r->id), eco_p_str(run_id), eco_p_str(r->region), eco_p_i64(at_us)));
}

eco_status store_run_ended(eco_tx *tx, int64_t instance_id, int replica_id, const char *run_id, int64_t at_us) {
  return eco_tx_exec(tx, SQL_RUN_ENDED, NULL,
                     ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(replica_id), eco_p_str(run_id), eco_p_i64(at_us)));
}

eco_status store_interval_open(eco_tx *tx, int64_t instance_id, const replica_row *r, const char *run_id,
                               int64_t at_us) {
  return eco_tx_exec(
      tx, SQL_OPEN, NULL,
      ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(r->id), eco_p_i64(at_us), eco_p_str(run_id), eco_p_str(r->region)));
}

eco_status store_interval_close(eco_tx *tx, int64_t instance_id, int replica_id, int64_t at_us) {
  return eco_tx_exec(tx, SQL_CLOSE, NULL, ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(replica_id), eco_p_i64(at_us)));
}

eco_status store_intervals(eco_tx *tx, eco_arena *arena, int64_t instance_id, int64_t from_us, int limit,
                           Ecolink__V1__MeterInterval ***out, size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(
      eco_tx_exec(tx, SQL_INTERVALS, &rows, ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(from_us), eco_p_i64(limit))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *count + 1, sizeof(**out));
  for (size_t k = 0; k < *count; k++) {
    Ecolink__V1__MeterInterval *v = eco_alloc(arena, sizeof(*v));
    ecolink__v1__meter_interval__init(v);
    v->replica_id = (int32_t)eco_row_i64(rows, k, 0);
    v->region = eco_strdup(arena, eco_row_str(rows, k, 1));
    v->run_id = eco_strdup(arena, eco_row_str(rows, k, 2));
    v->started_at_us = eco_row_i64(rows, k, 3);
    v->ended_at_us = eco_row_i64(rows, k, 4);
    (*out)[k] = v;
  }
  return eco_success();
}

eco_status store_watermark_of(eco_tx *tx, int64_t instance_id, int64_t *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_WATERMARK, &rows, ECO_PARAMS(eco_p_i64(instance_id))));
  *out = eco_row_i64(rows, 0, 0);
  return eco_success();
}

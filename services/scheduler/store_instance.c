// SQL of the instance row.
#include <stdio.h>
#include <string.h>

#include "store.h"

#define INSTANCE_COLUMNS                                                                                               \
  "id, version, account_id, name, served_name, model_id, platform_model, category, status, status_detail,"             \
  " termination_reason, launch_state, idem_scope, openai_compatible, custom_api_path, engine, image, health_path,"     \
  " lists_models, gpu_type, gpu_count, total_replicas, hourly_rate_micros, startup_deadline_s, drain_s, generation,"   \
  " startup_began_us, progress_at_us, hold_cycle, hold_amount_micros, hold_expires_at_us, event_count, created_at_us," \
  " running_at_us, stop_requested_at_us, charge_end_us, stopped_at_us, startup_estimate_s"

static const char SQL_INSERT[] =
    "INSERT INTO instances (version, account_id, name, served_name, model_id, platform_model, category, status,"
    " status_detail, launch_state, launch_deadline, idem_scope, openai_compatible, custom_api_path, engine, image,"
    " health_path, lists_models, gpu_type, gpu_count, total_replicas, hourly_rate_micros, startup_deadline_s, drain_s, "
    "spec,"
    " model, created_at_us, startup_estimate_s) VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, 'open',"
    " clock_timestamp() + $9::bigint * interval '1 millisecond', $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, "
    "$20, $21,"
    " $22, $23, $24, $25, $26) RETURNING id";
static const char SQL_LOAD[] = "SELECT " INSTANCE_COLUMNS " FROM instances WHERE id = $1";
#define LOAD_OWN \
  "SELECT " INSTANCE_COLUMNS " FROM instances WHERE id = $1 AND account_id = $2 AND launch_state = 'done'"
static const char SQL_LOAD_OWN[] = LOAD_OWN;
static const char SQL_LOAD_OWN_LOCKED[] = LOAD_OWN " FOR UPDATE";
// Asked when the account has no such instance; never locks, and reads nothing of it.
static const char SQL_FOREIGN[] = "SELECT 1 FROM instances WHERE id = $1 AND launch_state = 'done'";
static const char SQL_LOAD_LOCKED[] = "SELECT " INSTANCE_COLUMNS " FROM instances WHERE id = $1 FOR UPDATE";
static const char SQL_SAVE[] =
    "UPDATE instances SET version = version + 1, status = $2, status_detail = $3, termination_reason = $4,"
    " launch_state = $5, idem_scope = $6, generation = $7, startup_began_us = $8, progress_at_us = $9, hold_cycle = "
    "$10,"
    " hold_amount_micros = $11, hold_expires_at_us = $12, event_count = $13, running_at_us = $14, stop_requested_at_us "
    "= $15,"
    " charge_end_us = $16, stopped_at_us = $17 WHERE id = $1 RETURNING version";
static const char SQL_BLOBS[] = "SELECT spec, model FROM instances WHERE id = $1";
static const char SQL_SET_MODEL[] = "UPDATE instances SET model = $2 WHERE id = $1";
static const char SQL_LIST[] =
    "SELECT " INSTANCE_COLUMNS
    " FROM instances WHERE account_id = $1 AND launch_state = 'done' AND ($2 = 0::bigint OR id < $2)"
    " AND ($3 = 0::int OR status = $3) ORDER BY id DESC LIMIT $4";
static const char SQL_PAGE[] =
    "SELECT " INSTANCE_COLUMNS
    " FROM instances WHERE id::text COLLATE \"C\" > $1 ORDER BY id::text COLLATE \"C\" LIMIT $2";
static const char SQL_ROUTED[] = "SELECT " INSTANCE_COLUMNS " FROM instances WHERE status IN (1, 2, 3) ORDER BY id";
#define IN_REGION                                            \
  "SELECT " INSTANCE_COLUMNS                                 \
  " FROM instances i WHERE launch_state = 'done' AND EXISTS" \
  " (SELECT 1 FROM replicas r WHERE r.instance_id = i.id AND r.region = $1 AND NOT r.gone)"
static const char SQL_IN_REGION[] = IN_REGION " ORDER BY id";
static const char SQL_PICK[] = IN_REGION " AND id = ANY ($2::bigint[]) ORDER BY id";
static const char SQL_KEYS[] =
    "SELECT r.instance_id, r.id, i.version FROM replicas r JOIN instances i ON i.id = r.instance_id"
    " WHERE r.region = $1 AND NOT r.gone AND i.launch_state = 'done' ORDER BY r.instance_id, r.id";
// Every change of an instance and its replicas adds one to its version.
static const char SQL_STAMP[] =
    "SELECT count(*), coalesce(sum(i.version), 0)::bigint, coalesce((SELECT prune_confirmed FROM regions WHERE name = "
    "$1), false) FROM instances i JOIN replicas r ON r.instance_id = i.id"
    " WHERE r.region = $1 AND NOT r.gone AND i.launch_state = 'done'";
// The last five of the account that ran: a median is not moved by the one that had to wait for room.
static const char SQL_STARTUP[] =
    "SELECT coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY took_s), 0)::bigint FROM"
    " (SELECT greatest(1, (running_at_us - created_at_us) / 1000000) AS took_s FROM instances WHERE account_id = $1"
    " AND model_id = $2 AND platform_model = $3 AND image = $4 AND running_at_us > 0 AND launch_state = 'done'"
    " ORDER BY id DESC LIMIT 5) AS lately";
static const char SQL_HIGHEST[] = "SELECT coalesce(max(id), 0) FROM instances";
static const char SQL_OVERDUE[] =
    "SELECT id FROM instances WHERE launch_state = 'closing' OR (launch_state = 'open' AND launch_deadline < "
    "clock_timestamp())"
    " ORDER BY id LIMIT 100";
static const char SQL_CLAIM[] =
    "UPDATE instances SET launch_state = 'closing' WHERE id = $1 AND launch_state IN ('open', 'closing') AND status = "
    "1";

static const char SQL_HOLDS_OVERDUE[] =
    "SELECT id FROM instances WHERE status IN (2, 3) AND hold_expires_at_us <> 0 AND hold_expires_at_us < $1"
    " ORDER BY hold_expires_at_us LIMIT $2";
static const char SQL_LEAVINGS[] = "SELECT " INSTANCE_COLUMNS
                                   " FROM instances i WHERE status IN (5, 6) AND NOT leavings_dropped"
                                   " AND stopped_at_us < $1 AND NOT EXISTS (SELECT 1 FROM replicas r"
                                   " WHERE r.instance_id = i.id AND NOT r.gone) ORDER BY stopped_at_us LIMIT $2";
static const char SQL_LEAVINGS_DROPPED[] = "UPDATE instances SET leavings_dropped = true WHERE id = $1";

eco_status store_instance_insert(eco_tx *tx, instance_row *i, const instance_blobs *blobs, int answer_ms) {
  eco_rows *rows = NULL;
  ECO_TRY(
      eco_tx_exec(tx, SQL_INSERT, &rows,
                  ECO_PARAMS(eco_p_str(i->account_id), eco_p_str(i->name), eco_p_str(i->served_name),
                             eco_p_str(i->model_id), eco_p_str(i->platform_model), eco_p_i64(i->category),
                             eco_p_i64(i->status), eco_p_str(i->detail), eco_p_i64(answer_ms), eco_p_str(i->idem_scope),
                             eco_p_bool(i->openai_compatible), eco_p_str(i->custom_api_path), eco_p_str(i->engine),
                             eco_p_str(i->image), eco_p_str(i->health_path), eco_p_bool(i->lists_models),
                             eco_p_str(i->gpu_type), eco_p_i64(i->gpu_count), eco_p_i64(i->total_replicas),
                             eco_p_i64(i->hourly_rate_micros), eco_p_i64(i->startup_deadline_s), eco_p_i64(i->drain_s),
                             eco_p_bytes(blobs->spec, blobs->spec_len), eco_p_bytes(blobs->model, blobs->model_len),
                             eco_p_i64(i->created_at_us), eco_p_i64(i->startup_estimate_s))));
  i->id = eco_row_i64(rows, 0, 0);
  i->version = 1;
  for (int k = 0; k < i->replica_count; k++) {
    ECO_TRY(store_replica_insert(tx, i->id, &i->replicas[k]));
  }
  return eco_success();
}

static void read_row(const eco_rows *rows, size_t row, eco_arena *arena, instance_row *i) {
  int c = 0;
  *i = (instance_row){0};
  i->id = eco_row_i64(rows, row, c++);
  i->version = eco_row_i64(rows, row, c++);
  i->account_id = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->name = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->served_name = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->model_id = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->platform_model = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->category = (int)eco_row_i64(rows, row, c++);
  i->status = (instance_status)eco_row_i64(rows, row, c++);
  snprintf(i->detail, sizeof(i->detail), "%s", eco_row_str(rows, row, c++));
  i->reason = (termination_reason)eco_row_i64(rows, row, c++);
  snprintf(i->launch_state, sizeof(i->launch_state), "%s", eco_row_str(rows, row, c++));
  i->idem_scope = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->openai_compatible = eco_row_bool(rows, row, c++);
  i->custom_api_path = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->engine = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->image = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->health_path = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->lists_models = eco_row_bool(rows, row, c++);
  i->gpu_type = eco_strdup(arena, eco_row_str(rows, row, c++));
  i->gpu_count = (int)eco_row_i64(rows, row, c++);
  i->total_replicas = (int)eco_row_i64(rows, row, c++);
  i->hourly_rate_micros = eco_row_i64(rows, row, c++);
  i->startup_deadline_s = (int)eco_row_i64(rows, row, c++);
  i->drain_s = (int)eco_row_i64(rows, row, c++);
  i->generation = eco_row_i64(rows, row, c++);
  i->startup_began_us = eco_row_i64(rows, row, c++);
  i->progress_at_us = eco_row_i64(rows, row, c++);
  i->hold_cycle = eco_row_i64(rows, row, c++);
  i->hold_amount_micros = eco_row_i64(rows, row, c++);
  i->hold_expires_at_us = eco_row_i64(rows, row, c++);
  i->event_count = eco_row_i64(rows, row, c++);
  i->created_at_us = eco_row_i64(rows, row, c++);
  i->running_at_us = eco_row_i64(rows, row, c++);
  i->stop_requested_at_us = eco_row_i64(rows, row, c++);
  i->charge_end_us = eco_row_i64(rows, row, c++);
  i->stopped_at_us = eco_row_i64(rows, row, c++);
  i->startup_estimate_s = (int)eco_row_i64(rows, row, c++);
}

static eco_status read_rows(eco_tx *tx, eco_arena *arena, const eco_rows *rows, instance_row **out, size_t *count) {
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *count + 1, sizeof(**out));
  for (size_t k = 0; k < *count; k++) {
    read_row(rows, k, arena, &(*out)[k]);
  }
  return store_replicas_load(tx, *out, *count);
}

eco_status store_instance_load(eco_tx *tx, eco_arena *arena, int64_t id, store_lock lock, instance_row *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, lock == STORE_LOCK ? SQL_LOAD_LOCKED : SQL_LOAD, &rows, ECO_PARAMS(eco_p_i64(id))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_NOT_FOUND, "There is no instance %lld.", (long long)id);
  }
  read_row(rows, 0, arena, out);
  return store_replicas_load(tx, out, 1);
}

eco_status store_instance_load_own(eco_tx *tx, eco_arena *arena, const char *account_id, int64_t id, store_lock lock,
                                   instance_row *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, lock == STORE_LOCK ? SQL_LOAD_OWN_LOCKED : SQL_LOAD_OWN, &rows,
                      ECO_PARAMS(eco_p_i64(id), eco_p_str(account_id))));
  if (eco_rows_count(rows) > 0) {
    read_row(rows, 0, arena, out);
    return store_replicas_load(tx, out, 1);
  }
  ECO_TRY(eco_tx_exec(tx, SQL_FOREIGN, &rows, ECO_PARAMS(eco_p_i64(id))));
  return eco_rows_count(rows) > 0 ? eco_error(ECO_FORBIDDEN, "Instance %lld belongs to another account.", (long long)id)
                                  : eco_error(ECO_NOT_FOUND, "There is no instance %lld.", (long long)id);
}

eco_status store_instance_save(eco_tx *tx, instance_row *i) {
  eco_rows *rows = NULL;
  ECO_TRY(
      eco_tx_exec(tx, SQL_SAVE, &rows,
                  ECO_PARAMS(eco_p_i64(i->id), eco_p_i64(i->status), eco_p_str(i->detail), eco_p_i64(i->reason),
                             eco_p_str(i->launch_state), eco_p_str(i->idem_scope), eco_p_i64(i->generation),
                             eco_p_i64(i->startup_began_us), eco_p_i64(i->progress_at_us), eco_p_i64(i->hold_cycle),
                             eco_p_i64(i->hold_amount_micros), eco_p_i64(i->hold_expires_at_us),
                             eco_p_i64(i->event_count), eco_p_i64(i->running_at_us), eco_p_i64(i->stop_requested_at_us),
                             eco_p_i64(i->charge_end_us), eco_p_i64(i->stopped_at_us))));
  if (eco_rows_count(rows) != 1) {
    return eco_error(ECO_INTERNAL, "Instance %lld is gone.", (long long)i->id);
  }
  i->version = eco_row_i64(rows, 0, 0);
  i->dirty = false;
  return eco_success();
}

eco_status store_instance_blobs(eco_tx *tx, eco_arena *arena, int64_t id, instance_blobs *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_BLOBS, &rows, ECO_PARAMS(eco_p_i64(id))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_NOT_FOUND, "There is no instance %lld.", (long long)id);
  }
  uint8_t *spec = NULL;
  uint8_t *model = NULL;
  eco_row_bytes(rows, 0, 0, arena, &spec, &out->spec_len);
  eco_row_bytes(rows, 0, 1, arena, &model, &out->model_len);
  out->spec = spec;
  out->model = model;
  return eco_success();
}

eco_status store_instance_set_model(eco_tx *tx, int64_t id, const uint8_t *model, size_t len) {
  return eco_tx_exec(tx, SQL_SET_MODEL, NULL, ECO_PARAMS(eco_p_i64(id), eco_p_bytes(model, len)));
}

eco_status store_instance_list(eco_tx *tx, eco_arena *arena, const char *account_id, int64_t before, int status,
                               int limit, instance_row **out, size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_LIST, &rows,
                      ECO_PARAMS(eco_p_str(account_id), eco_p_i64(before), eco_p_i64(status), eco_p_i64(limit))));
  return read_rows(tx, arena, rows, out, count);
}

eco_status store_instance_page(eco_tx *tx, eco_arena *arena, const char *after_id, int limit, instance_row **out,
                               size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_PAGE, &rows, ECO_PARAMS(eco_p_str(after_id), eco_p_i64(limit))));
  return read_rows(tx, arena, rows, out, count);
}

eco_status store_instance_routed(eco_tx *tx, eco_arena *arena, instance_row **out, size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_ROUTED, &rows, ECO_NO_PARAMS));
  return read_rows(tx, arena, rows, out, count);
}

eco_status store_instance_in_region(eco_tx *tx, eco_arena *arena, const char *region, instance_row **out,
                                    size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_IN_REGION, &rows, ECO_PARAMS(eco_p_str(region))));
  return read_rows(tx, arena, rows, out, count);
}

eco_status store_instance_pick(eco_tx *tx, eco_arena *arena, const char *region, const int64_t *ids, size_t n,
                               instance_row **out, size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_PICK, &rows, ECO_PARAMS(eco_p_str(region), eco_p_str(store_ids(arena, ids, n)))));
  return read_rows(tx, arena, rows, out, count);
}

eco_status store_region_keys(eco_tx *tx, eco_arena *arena, const char *region, roster_key **out, size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_KEYS, &rows, ECO_PARAMS(eco_p_str(region))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *count + 1, sizeof(**out));
  for (size_t k = 0; k < *count; k++) {
    (*out)[k] = (roster_key){.instance_id = eco_row_i64(rows, k, 0),
                             .replica_id = (int)eco_row_i64(rows, k, 1),
                             .version = eco_row_i64(rows, k, 2)};
  }
  return eco_success();
}

eco_status store_startup_estimate(eco_tx *tx, const instance_row *i, int *seconds) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(
      tx, SQL_STARTUP, &rows,
      ECO_PARAMS(eco_p_str(i->account_id), eco_p_str(i->model_id), eco_p_str(i->platform_model), eco_p_str(i->image))));
  int64_t s = eco_row_i64(rows, 0, 0);
  *seconds = (int)(s < SCHED_STARTUP_DEADLINE_S_MAX ? s : SCHED_STARTUP_DEADLINE_S_MAX);
  return eco_success();
}

eco_status store_region_stamp(eco_tx *tx, const char *region, store_stamp *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_STAMP, &rows, ECO_PARAMS(eco_p_str(region))));
  *out = (store_stamp){.count = eco_row_i64(rows, 0, 0),
                       .versions = eco_row_i64(rows, 0, 1),
                       .prune_confirmed = eco_row_bool(rows, 0, 2)};
  return eco_success();
}

eco_status store_instance_highest(eco_tx *tx, int64_t *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_HIGHEST, &rows, ECO_NO_PARAMS));
  *out = eco_row_i64(rows, 0, 0);
  return eco_success();
}

static void read_ids(eco_arena *arena, const eco_rows *rows, int64_t **ids, size_t *count) {
  *count = eco_rows_count(rows);
  *ids = eco_alloc_array(arena, *count + 1, sizeof(**ids));
  for (size_t k = 0; k < *count; k++) {
    (*ids)[k] = eco_row_i64(rows, k, 0);
  }
}

eco_status store_holds_overdue(eco_tx *tx, eco_arena *arena, int64_t now_us, int limit, int64_t **ids, size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_HOLDS_OVERDUE, &rows, ECO_PARAMS(eco_p_i64(now_us), eco_p_i64(limit))));
  read_ids(arena, rows, ids, count);
  return eco_success();
}

eco_status store_leavings(eco_tx *tx, eco_arena *arena, int64_t before_us, int limit, instance_row **out,
                          size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_LEAVINGS, &rows, ECO_PARAMS(eco_p_i64(before_us), eco_p_i64(limit))));
  return read_rows(tx, arena, rows, out, count);
}

eco_status store_leavings_dropped(eco_tx *tx, int64_t id) {
  return eco_tx_exec(tx, SQL_LEAVINGS_DROPPED, NULL, ECO_PARAMS(eco_p_i64(id)));
}

eco_status store_launch_overdue(eco_tx *tx, eco_arena *arena, int64_t **ids, size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_OVERDUE, &rows, ECO_NO_PARAMS));
  read_ids(arena, rows, ids, count);
  return eco_success();
}

eco_status store_launch_claim(eco_tx *tx, int64_t id, bool *claimed) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_CLAIM, &rows, ECO_PARAMS(eco_p_i64(id))));
  *claimed = eco_rows_affected(rows) == 1;
  return eco_success();
}

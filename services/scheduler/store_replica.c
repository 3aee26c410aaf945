// SQL of replicas and of the owner's events.
#include <stdio.h>
#include <string.h>

#include "store.h"

#define REPLICA_COLUMNS                                                                                      \
  "r.instance_id, r.id, r.region, r.version, r.status, r.status_detail, r.generation, r.rolled, r.attempts," \
  " r.crash_looping, r.run_id, r.host, r.port, r.restarts, r.ready, r.ready_changed_us, r.steady_at_us,"     \
  " r.attempt_began_us, r.best_phase, r.reserved, r.gone, v.started_at_us, v.run_id, r.token"
#define REPLICA_FROM                                                                                      \
  " FROM replicas r LEFT JOIN ready_intervals v ON v.instance_id = r.instance_id AND v.replica_id = r.id" \
  " AND v.ended_at_us = 0"

static const char SQL_INSERT[] =
    "INSERT INTO replicas (instance_id, id, version, region, status, status_detail, reserved, token)"
    " VALUES ($1, $2, 1, $3, $4, $5, $6, $7)";
static const char SQL_SAVE[] =
    "UPDATE replicas SET version = version + 1, status = $3, status_detail = $4, generation = $5, rolled = $6, "
    "attempts = $7,"
    " crash_looping = $8, run_id = $9, host = $10, port = $11, restarts = $12, ready = $13, ready_changed_us = $14,"
    " steady_at_us = $15, attempt_began_us = $16, best_phase = $17, reserved = $18, gone = $19, region = $20"
    " WHERE instance_id = $1 AND id = $2 RETURNING version";
static const char SQL_LOAD[] =
    "SELECT " REPLICA_COLUMNS REPLICA_FROM " WHERE r.instance_id = ANY ($1::bigint[]) ORDER BY r.instance_id, r.id";
static const char SQL_PAGE[] =
    "SELECT " REPLICA_COLUMNS ", i.account_id, i.health_path" REPLICA_FROM
    " JOIN instances i ON i.id = r.instance_id"
    " WHERE i.launch_state = 'done' AND (r.instance_id::text || '-' || r.id::text) COLLATE \"C\" > $1"
    " ORDER BY (r.instance_id::text || '-' || r.id::text) COLLATE \"C\" LIMIT $2";
static const char SQL_EVENT[] =
    "INSERT INTO instance_events (instance_id, seq, type, message, replica_id, region, status, created_at_us)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
static const char SQL_EVENTS[] =
    "SELECT seq, type, message, replica_id, region, status, created_at_us FROM instance_events"
    " WHERE instance_id = $1 AND seq > $2"
    " AND EXISTS (SELECT 1 FROM instances WHERE id = $1 AND account_id = $4) ORDER BY seq LIMIT $3";

eco_status store_replica_insert(eco_tx *tx, int64_t instance_id, const replica_row *r) {
  return eco_tx_exec(tx, SQL_INSERT, NULL,
                     ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(r->id), eco_p_str(r->region), eco_p_i64(r->status),
                                eco_p_str(r->detail), eco_p_bool(r->reserved), eco_p_str(r->token)));
}

eco_status store_replica_save(eco_tx *tx, int64_t instance_id, replica_row *r) {
  eco_rows *rows = NULL;
  ECO_TRY(
      eco_tx_exec(tx, SQL_SAVE, &rows,
                  ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(r->id), eco_p_i64(r->status), eco_p_str(r->detail),
                             eco_p_i64(r->generation), eco_p_i64(r->rolled), eco_p_i64(r->attempts),
                             eco_p_bool(r->crash_looping), eco_p_str(r->run_id), eco_p_str(r->host), eco_p_i64(r->port),
                             eco_p_i64(r->restarts), eco_p_bool(r->ready), eco_p_i64(r->ready_changed_us),
                             eco_p_i64(r->steady_at_us), eco_p_i64(r->attempt_began_us), eco_p_i64(r->best_phase),
                             eco_p_bool(r->reserved), eco_p_bool(r->gone), eco_p_str(r->region))));
  if (eco_rows_count(rows) != 1) {
    return eco_error(ECO_INTERNAL, "Replica %d of instance %lld is gone.", r->id, (long long)instance_id);
  }
  r->version = eco_row_i64(rows, 0, 0);
  r->dirty = false;
  return eco_success();
}

static void read_row(const eco_rows *rows, size_t row, replica_row *r) {
  int c = 1;
  *r = (replica_row){0};
  r->id = (int)eco_row_i64(rows, row, c++);
  snprintf(r->region, sizeof(r->region), "%s", eco_row_str(rows, row, c++));
  r->version = eco_row_i64(rows, row, c++);
  r->status = (replica_status)eco_row_i64(rows, row, c++);
  snprintf(r->detail, sizeof(r->detail), "%s", eco_row_str(rows, row, c++));
  r->generation = eco_row_i64(rows, row, c++);
  r->rolled = eco_row_i64(rows, row, c++);
  r->attempts = (int)eco_row_i64(rows, row, c++);
  r->crash_looping = eco_row_bool(rows, row, c++);
  snprintf(r->run_id, sizeof(r->run_id), "%s", eco_row_str(rows, row, c++));
  snprintf(r->host, sizeof(r->host), "%s", eco_row_str(rows, row, c++));
  r->port = (int)eco_row_i64(rows, row, c++);
  r->restarts = (int)eco_row_i64(rows, row, c++);
  r->ready = eco_row_bool(rows, row, c++);
  r->ready_changed_us = eco_row_i64(rows, row, c++);
  r->steady_at_us = eco_row_i64(rows, row, c++);
  r->attempt_began_us = eco_row_i64(rows, row, c++);
  r->best_phase = (int)eco_row_i64(rows, row, c++);
  r->reserved = eco_row_bool(rows, row, c++);
  r->gone = eco_row_bool(rows, row, c++);
  r->interval_started_us = eco_row_i64(rows, row, c++);
  snprintf(r->interval_run_id, sizeof(r->interval_run_id), "%s", eco_row_str(rows, row, c++));
  snprintf(r->token, sizeof(r->token), "%s", eco_row_str(rows, row, c++));
}

// From a place on, and round: both lists are usually in the same order.
static size_t find(const instance_row *list, size_t count, size_t from, int64_t id) {
  for (size_t k = 0; k < count; k++) {
    size_t at = (from + k) % count;
    if (list[at].id == id) {
      return at;
    }
  }
  return count;
}

const char *store_ids(eco_arena *arena, const int64_t *ids, size_t count) {
  size_t cap = count * 21 + 3;  // "{", 20 digits and a comma each, "}"
  char *out = eco_alloc(arena, cap);
  size_t used = (size_t)snprintf(out, cap, "{");
  for (size_t k = 0; k < count; k++) {
    used += (size_t)snprintf(out + used, cap - used, "%s%lld", k ? "," : "", (long long)ids[k]);
  }
  (void)snprintf(out + used, cap - used, "}");
  return out;
}

eco_status store_replicas_load(eco_tx *tx, instance_row *list, size_t count) {
  if (count == 0) {
    return eco_success();
  }
  eco_arena *scratch = eco_arena_new();
  int64_t *ids = eco_alloc_array(scratch, count, sizeof(*ids));
  for (size_t k = 0; k < count; k++) {
    ids[k] = list[k].id;
  }
  eco_rows *rows = NULL;
  eco_status st = eco_tx_exec(tx, SQL_LOAD, &rows, ECO_PARAMS(eco_p_str(store_ids(scratch, ids, count))));
  eco_arena_free(scratch);
  ECO_TRY(st);
  size_t at = 0;
  for (size_t k = 0; k < eco_rows_count(rows); k++) {
    size_t found = find(list, count, at, eco_row_i64(rows, k, 0));
    if (found == count) {
      continue;
    }
    at = found;
    if (list[at].replica_count < SCHED_REPLICAS_MAX) {
      read_row(rows, k, &list[at].replicas[list[at].replica_count++]);
    }
  }
  return eco_success();
}

eco_status store_replica_page(eco_tx *tx, eco_arena *arena, const char *after_id, int limit, replica_state_row **out,
                              size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_PAGE, &rows, ECO_PARAMS(eco_p_str(after_id), eco_p_i64(limit))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *count + 1, sizeof(**out));
  for (size_t k = 0; k < *count; k++) {
    (*out)[k].instance_id = eco_row_i64(rows, k, 0);
    read_row(rows, k, &(*out)[k].replica);
    (*out)[k].account_id = eco_strdup(arena, eco_row_str(rows, k, 24));
    (*out)[k].health_path = eco_strdup(arena, eco_row_str(rows, k, 25));
  }
  return eco_success();
}

static const char *region_of(const instance_row *inst, int replica_id) {
  for (int i = 0; i < inst->replica_count; i++) {
    if (inst->replicas[i].id == replica_id) {
      return inst->replicas[i].region;
    }
  }
  return "";
}

eco_status store_event_append(eco_tx *tx, instance_row *inst, int64_t now_us, const char *type, int replica_id,
                              const char *message) {
  inst->event_count++;
  inst->dirty = true;
  return eco_tx_exec(tx, SQL_EVENT, NULL,
                     ECO_PARAMS(eco_p_i64(inst->id), eco_p_i64(inst->event_count), eco_p_str(type), eco_p_str(message),
                                eco_p_i64(replica_id), eco_p_str(region_of(inst, replica_id)), eco_p_i64(inst->status),
                                eco_p_i64(now_us)));
}

eco_status store_event_list(eco_tx *tx, eco_arena *arena, const instance_row *inst, int64_t after, int limit,
                            event_row **out, size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(
      eco_tx_exec(tx, SQL_EVENTS, &rows,
                  ECO_PARAMS(eco_p_i64(inst->id), eco_p_i64(after), eco_p_i64(limit), eco_p_str(inst->account_id))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *count + 1, sizeof(**out));
  for (size_t k = 0; k < *count; k++) {
    (*out)[k] = (event_row){.seq = eco_row_i64(rows, k, 0),
                            .type = eco_strdup(arena, eco_row_str(rows, k, 1)),
                            .message = eco_strdup(arena, eco_row_str(rows, k, 2)),
                            .replica_id = (int)eco_row_i64(rows, k, 3),
                            .region = eco_strdup(arena, eco_row_str(rows, k, 4)),
                            .status = (int)eco_row_i64(rows, k, 5),
                            .created_at_us = eco_row_i64(rows, k, 6)};
  }
  return eco_success();
}

// SQL of regions, GPU types, prices and the capacity counters.
#include <string.h>

#include "store.h"

// By the database's clock: a region whose list has failed for a minute takes no new instance. Time in which nobody
// looked (a scheduler that was down, or paused) says nothing about a region.
#define UNREACHABLE "(coalesce(r.failing_since < clock_timestamp() - interval '60 seconds', false))"

static const char SQL_ROOMS[] =
    "SELECT g.region, g.gpu_type, NOT r.cordoned AND NOT r.lost AND NOT " UNREACHABLE
    ", t.retired, g.total - g.reserved, t.hourly_rate_micros"
    " FROM gpu_rooms g JOIN regions r ON r.name = g.region JOIN gpu_types t ON t.name = g.gpu_type"
    " ORDER BY g.region, g.gpu_type LIMIT $1";
// Always in the same order, so that two launches never wait for each other.
static const char SQL_LOCK_ROOMS[] = "SELECT 1 FROM gpu_rooms ORDER BY region, gpu_type FOR UPDATE";
static const char SQL_RESERVE[] = "UPDATE gpu_rooms SET reserved = reserved + $3 WHERE region = $1 AND gpu_type = $2";
static const char SQL_REGION_PUT[] =
    "INSERT INTO regions (name, driver, cordoned, created_at_us, config, lost) VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (name) DO UPDATE SET driver = excluded.driver, cordoned = excluded.cordoned, config = "
    "excluded.config, lost = excluded.lost";
static const char SQL_TROUBLE[] =
    "UPDATE regions SET trouble = $2, prune_confirmed = prune_confirmed AND $2 <> '' WHERE name = $1 AND trouble <> $2";
static const char SQL_CONFIRM_PRUNE[] = "UPDATE regions SET prune_confirmed = true WHERE name = $1 RETURNING name";
static const char SQL_ROOM_TOTAL[] =
    "UPDATE gpu_rooms SET total = $3 WHERE region = $1 AND gpu_type = $2 AND total <> $3";
static const char SQL_REGION_USED[] = "SELECT EXISTS (SELECT 1 FROM replicas WHERE region = $1 AND NOT gone)";
static const char SQL_INSTALLATION[] = "SELECT id::text FROM installation";
static const char SQL_ROOM_PUT[] =
    "INSERT INTO gpu_rooms (region, gpu_type, total) VALUES ($1, $2, $3)"
    " ON CONFLICT (region, gpu_type) DO UPDATE SET total = excluded.total";
static const char SQL_ROOM_ZERO[] = "UPDATE gpu_rooms SET total = 0 WHERE region = $1 AND gpu_type = $2";
static const char SQL_ROOM_DROP[] = "DELETE FROM gpu_rooms WHERE region = $1 AND gpu_type = $2 AND reserved = 0";
static const char SQL_ROOM_NAMES[] = "SELECT gpu_type FROM gpu_rooms WHERE region = $1";
#define REGION_COLUMNS \
  "r.name, r.driver, r.cordoned, " UNREACHABLE ", r.observed_until_us, r.config, r.trouble, r.prune_confirmed, r.lost"
static const char SQL_REGION_GET[] = "SELECT " REGION_COLUMNS " FROM regions r WHERE r.name = $1";
static const char SQL_REGION_LIST[] =
    "SELECT " REGION_COLUMNS " FROM regions r WHERE r.name COLLATE \"C\" > $1 ORDER BY r.name COLLATE \"C\" LIMIT $2";
static const char SQL_REGION_ROOMS[] =
    "SELECT region, gpu_type, total, reserved FROM gpu_rooms WHERE region = $1 ORDER BY gpu_type";
static const char SQL_REGION_ROOMS_DELETE[] = "DELETE FROM gpu_rooms WHERE region = $1 AND reserved = 0";
static const char SQL_REGION_DELETE[] = "DELETE FROM regions WHERE name = $1";
static const char SQL_SEEN[] = "UPDATE regions SET failing_since = NULL WHERE name = $1 AND failing_since IS NOT NULL";
static const char SQL_FAILING[] =
    "UPDATE regions SET failing_since = clock_timestamp() WHERE name = $1 AND failing_since IS NULL";
static const char SQL_WATERMARK[] =
    "UPDATE regions SET observed_until_us = greatest(observed_until_us, $2) WHERE name = $1";
static const char SQL_TYPE_PUT[] =
    "INSERT INTO gpu_types (name, description, memory_gb, hourly_rate_micros, created_at_us) VALUES ($1, $2, $3, $4, "
    "$5)"
    " ON CONFLICT (name) DO UPDATE SET description = excluded.description, memory_gb = excluded.memory_gb,"
    " hourly_rate_micros = excluded.hourly_rate_micros, retired = false";
#define TYPE_COLUMNS "name, description, memory_gb, hourly_rate_micros, retired"
static const char SQL_TYPE_GET[] = "SELECT " TYPE_COLUMNS " FROM gpu_types WHERE name = $1";
static const char SQL_TYPE_LIST[] =
    "SELECT " TYPE_COLUMNS " FROM gpu_types WHERE name COLLATE \"C\" > $1 ORDER BY name COLLATE \"C\" LIMIT $2";
static const char SQL_TYPE_DELETE[] = "DELETE FROM gpu_types WHERE name = $1";
static const char SQL_TYPE_RETIRE[] = "UPDATE gpu_types SET retired = true WHERE name = $1";

eco_status store_rooms_lock(eco_tx *tx) {
  return eco_tx_exec(tx, SQL_LOCK_ROOMS, NULL, ECO_NO_PARAMS);
}

eco_status store_rooms(eco_tx *tx, eco_arena *arena, store_lock lock, placement_room **out, size_t *count) {
  eco_rows *rows = NULL;
  if (lock == STORE_LOCK) {
    ECO_TRY(store_rooms_lock(tx));
  }
  ECO_TRY(eco_tx_exec(tx, SQL_ROOMS, &rows, ECO_PARAMS(eco_p_i64(SCHED_ROOMS_MAX))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *count + 1, sizeof(**out));
  for (size_t k = 0; k < *count; k++) {
    (*out)[k] = (placement_room){.region = eco_strdup(arena, eco_row_str(rows, k, 0)),
                                 .gpu_type = eco_strdup(arena, eco_row_str(rows, k, 1)),
                                 .usable = eco_row_bool(rows, k, 2),
                                 .retired = eco_row_bool(rows, k, 3),
                                 .free = (int)eco_row_i64(rows, k, 4),
                                 .hourly_rate_micros = eco_row_i64(rows, k, 5)};
  }
  return eco_success();
}

eco_status store_room_reserve(eco_tx *tx, const char *region, const char *gpu_type, int gpus) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_RESERVE, &rows, ECO_PARAMS(eco_p_str(region), eco_p_str(gpu_type), eco_p_i64(gpus))));
  if (eco_rows_affected(rows) != 1) {
    return eco_error(ECO_INTERNAL, "Region %s has no counter for %s.", region, gpu_type);
  }
  return eco_success();
}

eco_status store_region_put(eco_tx *tx, const region_row *region, int64_t now_us) {
  return eco_tx_exec(
      tx, SQL_REGION_PUT, NULL,
      ECO_PARAMS(eco_p_str(region->name), eco_p_str(region->driver), eco_p_bool(region->cordoned), eco_p_i64(now_us),
                 eco_p_bytes(region->config, region->config_len), eco_p_bool(region->lost)));
}

eco_status store_room_put(eco_tx *tx, const char *region, const char *gpu_type, int total) {
  ECO_TRY(eco_tx_try(tx, SQL_ROOM_PUT, NULL, ECO_PARAMS(eco_p_str(region), eco_p_str(gpu_type), eco_p_i64(total))));
  if (eco_tx_violated(tx)) {
    return eco_error_param(ECO_INVALID_REQUEST, "gpus", "There is no GPU type \"%s\": put it first.", gpu_type);
  }
  return eco_success();
}

eco_status store_rooms_drop_others(eco_tx *tx, const char *region, const char *const *keep, size_t n) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_ROOM_NAMES, &rows, ECO_PARAMS(eco_p_str(region))));
  for (size_t k = 0; k < eco_rows_count(rows); k++) {
    const char *type = eco_row_str(rows, k, 0);
    bool kept = false;
    for (size_t i = 0; i < n; i++) {
      kept = kept || strcmp(keep[i], type) == 0;
    }
    if (!kept) {
      ECO_TRY(eco_tx_exec(tx, SQL_ROOM_ZERO, NULL, ECO_PARAMS(eco_p_str(region), eco_p_str(type))));
      ECO_TRY(eco_tx_exec(tx, SQL_ROOM_DROP, NULL, ECO_PARAMS(eco_p_str(region), eco_p_str(type))));
    }
  }
  return eco_success();
}

static void read_region(const eco_rows *rows, size_t k, eco_arena *arena, region_row *out) {
  *out = (region_row){.name = eco_strdup(arena, eco_row_str(rows, k, 0)),
                      .driver = eco_strdup(arena, eco_row_str(rows, k, 1)),
                      .cordoned = eco_row_bool(rows, k, 2),
                      .unreachable = eco_row_bool(rows, k, 3),
                      .observed_until_us = eco_row_i64(rows, k, 4),
                      .trouble = eco_strdup(arena, eco_row_str(rows, k, 6)),
                      .prune_confirmed = eco_row_bool(rows, k, 7),
                      .lost = eco_row_bool(rows, k, 8)};
  uint8_t *config = NULL;
  eco_row_bytes(rows, k, 5, arena, &config, &out->config_len);
  out->config = config;
}

eco_status store_region_is_used(eco_tx *tx, const char *name, bool *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_REGION_USED, &rows, ECO_PARAMS(eco_p_str(name))));
  *out = eco_row_bool(rows, 0, 0);
  return eco_success();
}

eco_status store_region_trouble(eco_tx *tx, const char *name, const char *trouble) {
  return eco_tx_exec(tx, SQL_TROUBLE, NULL, ECO_PARAMS(eco_p_str(name), eco_p_str(trouble)));
}

eco_status store_region_confirm_prune(eco_tx *tx, const char *name) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_CONFIRM_PRUNE, &rows, ECO_PARAMS(eco_p_str(name))));
  return eco_rows_count(rows) ? eco_success() : eco_error(ECO_NOT_FOUND, "There is no region \"%s\".", name);
}

eco_status store_room_total(eco_tx *tx, const char *region, const char *gpu_type, int total) {
  return eco_tx_exec(tx, SQL_ROOM_TOTAL, NULL, ECO_PARAMS(eco_p_str(region), eco_p_str(gpu_type), eco_p_i64(total)));
}

eco_status store_installation(eco_tx *tx, eco_arena *arena, const char **id) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_INSTALLATION, &rows, ECO_NO_PARAMS));
  if (eco_rows_count(rows) != 1) {
    return eco_error(ECO_INTERNAL, "The installation has no identity: run migrate.");
  }
  *id = eco_strdup(arena, eco_row_str(rows, 0, 0));
  return eco_success();
}

eco_status store_region_get(eco_tx *tx, eco_arena *arena, const char *name, region_row *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_REGION_GET, &rows, ECO_PARAMS(eco_p_str(name))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_NOT_FOUND, "There is no region \"%s\".", name);
  }
  read_region(rows, 0, arena, out);
  return eco_success();
}

eco_status store_region_list(eco_tx *tx, eco_arena *arena, const char *after, int limit, region_row **out,
                             size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_REGION_LIST, &rows, ECO_PARAMS(eco_p_str(after), eco_p_i64(limit))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *count + 1, sizeof(**out));
  for (size_t k = 0; k < *count; k++) {
    read_region(rows, k, arena, &(*out)[k]);
  }
  return eco_success();
}

eco_status store_region_rooms(eco_tx *tx, eco_arena *arena, const char *region, room_row **out, size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_REGION_ROOMS, &rows, ECO_PARAMS(eco_p_str(region))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *count + 1, sizeof(**out));
  for (size_t k = 0; k < *count; k++) {
    (*out)[k] = (room_row){.region = eco_strdup(arena, eco_row_str(rows, k, 0)),
                           .gpu_type = eco_strdup(arena, eco_row_str(rows, k, 1)),
                           .total = (int)eco_row_i64(rows, k, 2),
                           .reserved = (int)eco_row_i64(rows, k, 3)};
  }
  return eco_success();
}

eco_status store_region_delete(eco_tx *tx, const char *name) {
  ECO_TRY(eco_tx_exec(tx, SQL_REGION_ROOMS_DELETE, NULL, ECO_PARAMS(eco_p_str(name))));
  ECO_TRY(eco_tx_try(tx, SQL_REGION_DELETE, NULL, ECO_PARAMS(eco_p_str(name))));
  if (eco_tx_violated(tx)) {
    return eco_error(ECO_IN_USE, "Region \"%s\" holds or has held instances: cordon it instead.", name);
  }
  return eco_success();
}

eco_status store_region_seen(eco_tx *tx, const char *name) {
  return eco_tx_exec(tx, SQL_SEEN, NULL, ECO_PARAMS(eco_p_str(name)));
}

eco_status store_region_failing(eco_tx *tx, const char *name) {
  return eco_tx_exec(tx, SQL_FAILING, NULL, ECO_PARAMS(eco_p_str(name)));
}

eco_status store_region_watermark(eco_tx *tx, const char *name, int64_t observed_until_us) {
  return eco_tx_exec(tx, SQL_WATERMARK, NULL, ECO_PARAMS(eco_p_str(name), eco_p_i64(observed_until_us)));
}

eco_status store_gpu_type_put(eco_tx *tx, const gpu_type_row *t, int64_t now_us) {
  return eco_tx_exec(tx, SQL_TYPE_PUT, NULL,
                     ECO_PARAMS(eco_p_str(t->name), eco_p_str(t->description), eco_p_i64(t->memory_gb),
                                eco_p_i64(t->hourly_rate_micros), eco_p_i64(now_us)));
}

static void read_type(const eco_rows *rows, size_t k, eco_arena *arena, gpu_type_row *out) {
  *out = (gpu_type_row){.name = eco_strdup(arena, eco_row_str(rows, k, 0)),
                        .description = eco_strdup(arena, eco_row_str(rows, k, 1)),
                        .memory_gb = (int)eco_row_i64(rows, k, 2),
                        .hourly_rate_micros = eco_row_i64(rows, k, 3),
                        .retired = eco_row_bool(rows, k, 4)};
}

eco_status store_gpu_type_get(eco_tx *tx, eco_arena *arena, const char *name, gpu_type_row *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_TYPE_GET, &rows, ECO_PARAMS(eco_p_str(name))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_NOT_FOUND, "There is no GPU type \"%s\".", name);
  }
  read_type(rows, 0, arena, out);
  return eco_success();
}

eco_status store_gpu_type_list(eco_tx *tx, eco_arena *arena, const char *after, int limit, gpu_type_row **out,
                               size_t *count) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_TYPE_LIST, &rows, ECO_PARAMS(eco_p_str(after), eco_p_i64(limit))));
  *count = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *count + 1, sizeof(**out));
  for (size_t k = 0; k < *count; k++) {
    read_type(rows, k, arena, &(*out)[k]);
  }
  return eco_success();
}

eco_status store_gpu_type_delete(eco_tx *tx, const char *name) {
  ECO_TRY(eco_tx_try(tx, SQL_TYPE_DELETE, NULL, ECO_PARAMS(eco_p_str(name))));
  if (eco_tx_violated(tx)) {
    return eco_tx_exec(tx, SQL_TYPE_RETIRE, NULL, ECO_PARAMS(eco_p_str(name)));
  }
  return eco_success();
}

// SQL of shared filesystems.
#include "ecolink/lists.h"
#include "store.h"

#define FILESYSTEM_COLUMNS "id, account_id, name, region, mount_path, created_at_us"
#define FILESYSTEM_FIND \
  "SELECT " FILESYSTEM_COLUMNS " FROM filesystems WHERE account_id = $1 AND id = $2 AND deleted_at_us IS NULL"

static const char SQL_FILESYSTEM_INSERT[] =
    "INSERT INTO filesystems (id, account_id, name, region, mount_path, created_at_us) VALUES ($1, $2, $3, $4, $5, $6)";
static const char *const SQL_FILESYSTEM_FIND[] = {
    [REGISTRY_LOCK_NONE] = FILESYSTEM_FIND,
    [REGISTRY_LOCK_SHARE] = FILESYSTEM_FIND " FOR SHARE",
    [REGISTRY_LOCK_UPDATE] = FILESYSTEM_FIND " FOR UPDATE",
};
static const char SQL_FILESYSTEM_COUNT[] =
    "SELECT count(*) FROM filesystems WHERE account_id = $1 AND deleted_at_us IS NULL";
static const char SQL_FILESYSTEM_LIST[] = "SELECT " FILESYSTEM_COLUMNS
                                          " FROM filesystems WHERE account_id = $1 AND (created_at_us, id) < ($2, $3)"
                                          " AND deleted_at_us IS NULL ORDER BY created_at_us DESC, id DESC LIMIT $4";
static const char SQL_FILESYSTEM_USED[] =
    "SELECT (SELECT count(*) FROM models WHERE filesystem_id = $1 AND deleted_at_us IS NULL),"
    " (SELECT count(*) FROM pins WHERE target_id = $1)";
static const char SQL_FILESYSTEM_DELETE[] =
    "UPDATE filesystems SET deleted_at_us = $2 WHERE account_id = $1 AND id = $3";

eco_status registry_filesystem_insert(eco_tx *tx, const Ecolink__V1__Filesystem *fs, bool *taken) {
  ECO_TRY(eco_tx_try(tx, SQL_FILESYSTEM_INSERT, NULL,
                     ECO_PARAMS(eco_p_str(fs->id), eco_p_str(fs->account_id), eco_p_str(fs->name),
                                eco_p_str(fs->region), eco_p_str(fs->mount_path), eco_p_i64(fs->created_at->micros))));
  *taken = eco_tx_violated(tx) != NULL;
  return eco_success();
}

static void read_filesystems(eco_arena *arena, const eco_rows *rows, registry_filesystems *out) {
  out->n = eco_rows_count(rows);
  out->data = eco_alloc_array(arena, out->n + 1, sizeof *out->data);
  for (size_t i = 0; i < out->n; i++) {
    Ecolink__V1__Filesystem *fs = eco_alloc(arena, sizeof *fs);
    ecolink__v1__filesystem__init(fs);
    fs->id = eco_strdup(arena, eco_row_str(rows, i, 0));
    fs->account_id = eco_strdup(arena, eco_row_str(rows, i, 1));
    fs->name = eco_strdup(arena, eco_row_str(rows, i, 2));
    fs->region = eco_strdup(arena, eco_row_str(rows, i, 3));
    fs->mount_path = eco_strdup(arena, eco_row_str(rows, i, 4));
    fs->created_at = eco_pb_time(arena, eco_row_i64(rows, i, 5));
    out->data[i] = fs;
  }
}

eco_status registry_filesystem_find(eco_tx *tx, eco_arena *arena, const char *account_id, const char *id,
                                    registry_lock lock, Ecolink__V1__Filesystem **out) {
  eco_rows *rows = NULL;
  registry_filesystems found;
  ECO_TRY(eco_tx_exec(tx, SQL_FILESYSTEM_FIND[lock], &rows, ECO_PARAMS(eco_p_str(account_id), eco_p_str(id))));
  read_filesystems(arena, rows, &found);
  *out = found.data[0];
  return eco_success();
}

eco_status registry_filesystem_count(eco_tx *tx, const char *account_id, int64_t *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_FILESYSTEM_COUNT, &rows, ECO_PARAMS(eco_p_str(account_id))));
  *out = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status registry_filesystem_list(eco_tx *tx, eco_arena *arena, const char *account_id, const registry_page *page,
                                    registry_filesystems *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_FILESYSTEM_LIST, &rows,
                      ECO_PARAMS(eco_p_str(account_id), eco_p_i64(page->before_us), eco_p_str(page->before_id),
                                 eco_p_i64((int64_t)page->limit + 1))));
  read_filesystems(arena, rows, out);
  return eco_success();
}

eco_status registry_filesystem_used(eco_tx *tx, const char *id, int64_t *models, int64_t *instances) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_FILESYSTEM_USED, &rows, ECO_PARAMS(eco_p_str(id))));
  *models = eco_row_i64(rows, 0, 0);
  *instances = eco_row_i64(rows, 0, 1);
  return eco_success();
}

eco_status registry_filesystem_delete(eco_tx *tx, const registry_owned *what, int64_t now_us) {
  return eco_tx_exec(tx, SQL_FILESYSTEM_DELETE, NULL,
                     ECO_PARAMS(eco_p_str(what->account_id), eco_p_i64(now_us), eco_p_str(what->id)));
}

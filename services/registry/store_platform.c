// SQL of the platform catalogue.
#include "ecolink/lists.h"
#include "store.h"

#define PLATFORM_COLUMNS "name, repo, revision, category, description, created_at_us"

static const char SQL_PLATFORM_PUT[] =
    "INSERT INTO platform_models (name, repo, revision, category, description, created_at_us)"
    " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO UPDATE SET repo = excluded.repo,"
    " revision = excluded.revision, category = excluded.category, description = excluded.description"
    " RETURNING " PLATFORM_COLUMNS;
static const char SQL_PLATFORM_FIND[] = "SELECT " PLATFORM_COLUMNS " FROM platform_models WHERE name = $1";
static const char SQL_PLATFORM_DELETE[] = "DELETE FROM platform_models WHERE name = $1";
static const char SQL_PLATFORM_LIST[] = "SELECT " PLATFORM_COLUMNS
                                        " FROM platform_models WHERE (created_at_us, name) < ($1, $2)"
                                        " ORDER BY created_at_us DESC, name DESC LIMIT $3";

static void read_entries(eco_arena *arena, const eco_rows *rows, registry_platform_models *out) {
  out->n = eco_rows_count(rows);
  out->data = eco_alloc_array(arena, out->n + 1, sizeof *out->data);
  for (size_t i = 0; i < out->n; i++) {
    Ecolink__V1__PlatformModel *p = eco_alloc(arena, sizeof *p);
    ecolink__v1__platform_model__init(p);
    p->name = eco_strdup(arena, eco_row_str(rows, i, 0));
    p->repo = eco_strdup(arena, eco_row_str(rows, i, 1));
    p->revision = eco_strdup(arena, eco_row_str(rows, i, 2));
    p->category = (Ecolink__V1__ModelCategory)eco_row_i64(rows, i, 3);
    p->description = eco_strdup(arena, eco_row_str(rows, i, 4));
    p->created_at = eco_pb_time(arena, eco_row_i64(rows, i, 5));
    out->data[i] = p;
  }
}

eco_status registry_platform_put(eco_tx *tx, eco_arena *arena, const Ecolink__V1__PlatformModel *entry,
                                 Ecolink__V1__PlatformModel **out) {
  eco_rows *rows = NULL;
  registry_platform_models stored;
  ECO_TRY(eco_tx_exec(
      tx, SQL_PLATFORM_PUT, &rows,
      ECO_PARAMS(eco_p_str(entry->name), eco_p_str(entry->repo), eco_p_str(entry->revision), eco_p_i64(entry->category),
                 eco_p_str(entry->description), eco_p_i64(entry->created_at->micros))));
  read_entries(arena, rows, &stored);
  *out = stored.data[0];
  return eco_success();
}

eco_status registry_platform_find(eco_tx *tx, eco_arena *arena, const char *name, Ecolink__V1__PlatformModel **out) {
  eco_rows *rows = NULL;
  registry_platform_models found;
  ECO_TRY(eco_tx_exec(tx, SQL_PLATFORM_FIND, &rows, ECO_PARAMS(eco_p_str(name))));
  read_entries(arena, rows, &found);
  *out = found.data[0];
  return eco_success();
}

eco_status registry_platform_delete(eco_tx *tx, const char *name) {
  return eco_tx_exec(tx, SQL_PLATFORM_DELETE, NULL, ECO_PARAMS(eco_p_str(name)));
}

eco_status registry_platform_list(eco_tx *tx, eco_arena *arena, const registry_page *page,
                                  registry_platform_models *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(
      tx, SQL_PLATFORM_LIST, &rows,
      ECO_PARAMS(eco_p_i64(page->before_us), eco_p_str(page->before_id), eco_p_i64((int64_t)page->limit + 1))));
  read_entries(arena, rows, out);
  return eco_success();
}

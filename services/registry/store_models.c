// SQL of models and of the pins that live instances put on them.
#include "ecolink/lists.h"
#include "store.h"

// live_instances is counted, not stored: a pin is not a change of the model.
#define MODEL_COLUMNS                                                                              \
  "m.id, m.account_id, m.name, m.source, m.repo, m.revision, m.filesystem_id, m.path, m.category," \
  " m.hf_token_sealed IS NOT NULL, m.created_at_us, m.deleted_at_us IS NOT NULL, m.version,"       \
  " (SELECT count(*) FROM pins WHERE target_id = m.id)"
#define MODEL_FIND        \
  "SELECT " MODEL_COLUMNS \
  ", m.hf_token_sealed FROM models m WHERE m.account_id = $1 AND m.id = $2 AND m.deleted_at_us IS NULL"

static const char SQL_MODEL_INSERT[] =
    "INSERT INTO models (id, account_id, name, source, repo, revision, filesystem_id, path, category, hf_token_sealed,"
    " created_at_us, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1)";
static const char *const SQL_MODEL_FIND[] = {
    [REGISTRY_LOCK_NONE] = MODEL_FIND,
    [REGISTRY_LOCK_SHARE] = MODEL_FIND " FOR SHARE OF m",
    [REGISTRY_LOCK_UPDATE] = MODEL_FIND " FOR UPDATE OF m",
};
// Asked when the account has no such model; never locks, and reads nothing of it.
static const char SQL_MODEL_FOREIGN[] = "SELECT 1 FROM models WHERE id = $1 AND deleted_at_us IS NULL";
static const char SQL_MODEL_COUNT[] = "SELECT count(*) FROM models WHERE account_id = $1 AND deleted_at_us IS NULL";
static const char SQL_MODEL_LIST[] = "SELECT " MODEL_COLUMNS
                                     " FROM models m WHERE m.account_id = $1 AND (m.created_at_us, m.id) < ($2, $3)"
                                     " AND m.deleted_at_us IS NULL ORDER BY m.created_at_us DESC, m.id DESC LIMIT $4";
static const char SQL_MODEL_DELETE[] =
    "UPDATE models SET deleted_at_us = $2, hf_token_sealed = NULL, version = version + 1"
    " WHERE account_id = $1 AND id = $3 RETURNING version";
static const char SQL_MODEL_AFTER[] = "SELECT " MODEL_COLUMNS " FROM models m WHERE m.id > $1 ORDER BY m.id LIMIT $2";

static const char SQL_PIN_INSERT[] =
    "INSERT INTO pins (instance_id, target_id, acquired_at_us) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
static const char SQL_PIN_RELEASE[] = "DELETE FROM pins WHERE instance_id = $1";
static const char SQL_PIN_COUNT[] = "SELECT count(*) FROM pins WHERE target_id = $1";
static const char SQL_PIN_INSTANCES[] =
    "SELECT instance_id FROM pins WHERE instance_id > $1 GROUP BY instance_id HAVING max(acquired_at_us) < $2"
    " ORDER BY instance_id LIMIT $3";

eco_status registry_model_insert(eco_tx *tx, const Ecolink__V1__Model *model, bool *taken) {
  const Ecolink__V1__Sealed *token = model->hf_token;
  ECO_TRY(eco_tx_try(tx, SQL_MODEL_INSERT, NULL,
                     ECO_PARAMS(eco_p_str(model->id), eco_p_str(model->account_id), eco_p_str(model->name),
                                eco_p_i64(model->source), eco_p_str(model->repo), eco_p_str(model->revision),
                                eco_p_str(model->filesystem_id[0] != '\0' ? model->filesystem_id : NULL),
                                eco_p_str(model->path), eco_p_i64(model->category),
                                token != NULL ? eco_p_bytes(token->box.data, token->box.len) : eco_p_null(),
                                eco_p_i64(model->created_at->micros))));
  *taken = eco_tx_violated(tx) != NULL;
  return eco_success();
}

static void read_models(eco_arena *arena, const eco_rows *rows, registry_models *out) {
  out->n = eco_rows_count(rows);
  out->data = eco_alloc_array(arena, out->n + 1, sizeof *out->data);
  out->versions = eco_alloc_array(arena, out->n + 1, sizeof *out->versions);
  for (size_t i = 0; i < out->n; i++) {
    Ecolink__V1__Model *m = eco_alloc(arena, sizeof *m);
    ecolink__v1__model__init(m);
    m->id = eco_strdup(arena, eco_row_str(rows, i, 0));
    m->account_id = eco_strdup(arena, eco_row_str(rows, i, 1));
    m->name = eco_strdup(arena, eco_row_str(rows, i, 2));
    m->source = (Ecolink__V1__ModelSource)eco_row_i64(rows, i, 3);
    m->repo = eco_strdup(arena, eco_row_str(rows, i, 4));
    m->revision = eco_strdup(arena, eco_row_str(rows, i, 5));
    m->filesystem_id = eco_strdup(arena, eco_row_str(rows, i, 6));
    m->path = eco_strdup(arena, eco_row_str(rows, i, 7));
    m->category = (Ecolink__V1__ModelCategory)eco_row_i64(rows, i, 8);
    m->has_hf_token = eco_row_bool(rows, i, 9);
    m->created_at = eco_pb_time(arena, eco_row_i64(rows, i, 10));
    m->deleted = eco_row_bool(rows, i, 11);
    m->live_instances = (int32_t)eco_row_i64(rows, i, 13);
    out->data[i] = m;
    out->versions[i] = eco_row_i64(rows, i, 12);
  }
}

eco_status registry_model_find(eco_tx *tx, eco_arena *arena, const registry_owned *what, registry_lock lock,
                               bool with_token, Ecolink__V1__Model **out, bool *foreign) {
  enum { TOKEN_COLUMN = 14 };
  eco_rows *rows = NULL;
  registry_models found;
  ECO_TRY(eco_tx_exec(tx, SQL_MODEL_FIND[lock], &rows, ECO_PARAMS(eco_p_str(what->account_id), eco_p_str(what->id))));
  read_models(arena, rows, &found);
  *out = found.data[0];
  *foreign = false;
  if (found.n == 0) {
    ECO_TRY(eco_tx_exec(tx, SQL_MODEL_FOREIGN, &rows, ECO_PARAMS(eco_p_str(what->id))));
    *foreign = eco_rows_count(rows) > 0;
  }
  if (found.n > 0 && with_token && found.data[0]->has_hf_token) {
    Ecolink__V1__Sealed *sealed = eco_alloc(arena, sizeof *sealed);
    ecolink__v1__sealed__init(sealed);
    eco_row_bytes(rows, 0, TOKEN_COLUMN, arena, &sealed->box.data, &sealed->box.len);
    found.data[0]->hf_token = sealed;
  }
  return eco_success();
}

eco_status registry_model_count(eco_tx *tx, const char *account_id, int64_t *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_MODEL_COUNT, &rows, ECO_PARAMS(eco_p_str(account_id))));
  *out = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status registry_model_list(eco_tx *tx, eco_arena *arena, const char *account_id, const registry_page *page,
                               registry_models *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_MODEL_LIST, &rows,
                      ECO_PARAMS(eco_p_str(account_id), eco_p_i64(page->before_us), eco_p_str(page->before_id),
                                 eco_p_i64((int64_t)page->limit + 1))));
  read_models(arena, rows, out);
  return eco_success();
}

eco_status registry_model_delete(eco_tx *tx, const registry_owned *what, int64_t now_us, int64_t *version) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_MODEL_DELETE, &rows,
                      ECO_PARAMS(eco_p_str(what->account_id), eco_p_i64(now_us), eco_p_str(what->id))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_INTERNAL, "model %s is gone while it was locked", what->id);
  }
  *version = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status registry_model_after(eco_tx *tx, eco_arena *arena, const char *after_id, int limit, registry_models *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_MODEL_AFTER, &rows, ECO_PARAMS(eco_p_str(after_id), eco_p_i64(limit))));
  read_models(arena, rows, out);
  return eco_success();
}

eco_status registry_pin_insert(eco_tx *tx, int64_t instance_id, const char *target_id, int64_t now_us) {
  return eco_tx_exec(tx, SQL_PIN_INSERT, NULL,
                     ECO_PARAMS(eco_p_i64(instance_id), eco_p_str(target_id), eco_p_i64(now_us)));
}

eco_status registry_pin_release(eco_tx *tx, int64_t instance_id, int64_t *released) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_PIN_RELEASE, &rows, ECO_PARAMS(eco_p_i64(instance_id))));
  *released = (int64_t)eco_rows_affected(rows);
  return eco_success();
}

eco_status registry_pin_count(eco_tx *tx, const char *target_id, int64_t *out) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_PIN_COUNT, &rows, ECO_PARAMS(eco_p_str(target_id))));
  *out = eco_row_i64(rows, 0, 0);
  return eco_success();
}

eco_status registry_pin_instances(eco_tx *tx, eco_arena *arena, int64_t after_id, int64_t before_us, int limit,
                                  int64_t **out, size_t *n) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_PIN_INSTANCES, &rows,
                      ECO_PARAMS(eco_p_i64(after_id), eco_p_i64(before_us), eco_p_i64(limit))));
  *n = eco_rows_count(rows);
  *out = eco_alloc_array(arena, *n + 1, sizeof **out);
  for (size_t i = 0; i < *n; i++) {
    (*out)[i] = eco_row_i64(rows, i, 0);
  }
  return eco_success();
}

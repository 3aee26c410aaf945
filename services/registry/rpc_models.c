// Handlers of models.
#include <string.h>

#include "ecolink/crash.h"
#include "ecolink/lists.h"
#include "handlers.h"
#include "hub_client.h"
#include "models.h"
#include "paths.h"
#include "registry_limits.h"
#include "store.h"

// What events and answers say: everything but the sealed token and the count of instances, which is no state of the
// model.
static Ecolink__V1__Model *public_state(eco_arena *arena, const Ecolink__V1__Model *model) {
  Ecolink__V1__Model *state = eco_memdup(arena, model, sizeof *model);
  state->hf_token = NULL;
  state->live_instances = 0;
  return state;
}

// The path's normal form, under the filesystem that the account owns; the filesystem stays locked against deletion.
static eco_status resolve_path(eco_ctx *ctx, eco_tx *tx, const Ecolink__V1__CreateModelRequest *r,
                               Ecolink__V1__Model *model) {
  Ecolink__V1__Filesystem *fs = NULL;
  ECO_TRY(registry_filesystem_find(tx, ctx->arena, model->account_id, r->filesystem_id, REGISTRY_LOCK_SHARE, &fs));
  if (fs == NULL) {
    return eco_error_param(ECO_NOT_FOUND, "filesystem_id", "this account has no such filesystem");
  }
  char path[REGISTRY_PATH_MAX + 1];
  registry_path_verdict verdict = registry_path_normalise(fs->mount_path, r->path, path);
  if (verdict != REGISTRY_PATH_OK) {
    return eco_error_param(ECO_INVALID_REQUEST, "path", "%s (%s)", registry_path_complaint(verdict), fs->mount_path);
  }
  model->filesystem_id = fs->id;
  model->path = eco_strdup(ctx->arena, path);
  return eco_success();
}

static void fill_model(eco_ctx *ctx, const Ecolink__V1__CreateModelRequest *r, Ecolink__V1__Model *model) {
  model->id = registry_new_id(ctx->arena, "mdl");
  model->account_id = eco_strdup(ctx->arena, ctx->caller.account_id);
  model->name = eco_strdup(ctx->arena, r->name);
  model->source = r->source;
  model->category = r->category;
  model->created_at = eco_pb_time(ctx->arena, ctx->now_us);
  if (r->source == ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_HUGGINGFACE) {
    model->repo = eco_strdup(ctx->arena, r->repo);
    model->revision = eco_strdup(ctx->arena, registry_revision_or_default(r->revision));
    model->hf_token = r->hf_token;
    model->has_hf_token = r->hf_token != NULL;
  }
}

static eco_status insert_model(eco_ctx *ctx, eco_tx *tx, const Ecolink__V1__CreateModelRequest *r,
                               Ecolink__V1__Model *model) {
  int64_t live = 0;
  fill_model(ctx, r, model);
  ECO_TRY(registry_account_lock(tx, model->account_id));
  ECO_TRY(registry_model_count(tx, model->account_id, &live));
  if (live >= REGISTRY_ACCOUNT_MODELS_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "an account has at most %d models: delete one first",
                     REGISTRY_ACCOUNT_MODELS_MAX);
  }
  if (r->source == ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_SHARED_FILESYSTEM) {
    ECO_TRY(resolve_path(ctx, tx, r, model));
  }
  bool taken = false;
  ECO_TRY(registry_model_insert(tx, model, &taken));
  if (taken) {
    return eco_error_param(ECO_NAME_TAKEN, "name", "this account has a model of this name already");
  }
  return eco_event_publish(ctx, tx, "model.created", model->id, 1, &public_state(ctx->arena, model)->base);
}

// One transaction: the idempotency record, the model, its event.
static eco_status create_model(eco_ctx *ctx, const Ecolink__V1__CreateModelRequest *r, Ecolink__V1__Model *reply) {
  eco_tx *tx = NULL;
  eco_status st;
  Ecolink__V1__Model *model = eco_alloc(ctx->arena, sizeof *model);
  ecolink__v1__model__init(model);
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  ECO_TRY_GOTO(eco_idem_begin(ctx, tx));
  ECO_TRY_GOTO(insert_model(ctx, tx, r, model));
  *reply = *public_state(ctx->arena, model);
  ECO_TRY_GOTO(eco_idem_finish(tx, ctx->idem_scope, eco_success(), &reply->base));
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("registry.create_model.committed");
  return eco_success();
cleanup:
  eco_tx_rollback(tx);
  return st;
}

// A refusal is an answer too: the same key gets it again. Without its record the refusal still stands.
static void keep_refusal(eco_ctx *ctx, eco_status refusal) {
  eco_tx *tx = NULL;
  if (ctx->idem_scope[0] == '\0' || eco_code_is_transient(refusal.code) || refusal.code == ECO_INTERNAL ||
      refusal.code == ECO_IN_PROGRESS || refusal.code == ECO_IDEMPOTENCY_MISMATCH ||
      !eco_ok(eco_tx_begin(ctx->db, &tx))) {
    return;
  }
  if (!eco_ok(eco_idem_begin(ctx, tx)) || !eco_ok(eco_idem_finish(tx, ctx->idem_scope, refusal, NULL))) {
    eco_tx_rollback(tx);
    return;
  }
  eco_status st = eco_tx_commit(tx);
  (void)st;
}

// Not one transaction of the kit's, because the Hub may be asked: that happens before anything is written.
eco_status registry_rpc_create_model(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__CreateModelRequest *r = request;
  eco_status st = registry_model_check(r);
  if (eco_ok(st) && r->source == ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_HUGGINGFACE &&
      registry_config.hub_url[0] != '\0') {
    st = registry_hub_check(registry_config.hub_url, (long)registry_config.hub_timeout_ms, r->repo,
                            registry_revision_or_default(r->revision), r->hf_token != NULL);
  }
  if (eco_ok(st)) {
    st = create_model(ctx, r, reply);
  }
  if (!eco_ok(st)) {
    keep_refusal(ctx, st);
  }
  return st;
}

// A model of another account is told apart from none: 403 and 404 (product rule).
static eco_status find_model(eco_ctx *ctx, const char *id, registry_lock lock, Ecolink__V1__Model **out) {
  const registry_owned what = {ctx->caller.account_id, id};
  bool foreign = false;
  ECO_TRY(registry_model_find(ctx->tx, ctx->arena, &what, lock, false, out, &foreign));
  if (foreign) {
    return eco_error_param(ECO_FORBIDDEN, "id", "this model belongs to another account");
  }
  return *out != NULL ? eco_success() : eco_error_param(ECO_NOT_FOUND, "id", "there is no such model");
}

eco_status registry_rpc_get_model(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetModelRequest *r = request;
  Ecolink__V1__Model *model = NULL;
  ECO_TRY(find_model(ctx, r->id, REGISTRY_LOCK_NONE, &model));
  *(Ecolink__V1__Model *)reply = *model;
  return eco_success();
}

eco_status registry_rpc_list_models(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListModelsRequest *r = request;
  Ecolink__V1__ModelList *out = reply;
  registry_page page;
  registry_models found;
  ECO_TRY(registry_page_parse(r->limit, r->cursor, &page));
  ECO_TRY(registry_model_list(ctx->tx, ctx->arena, ctx->caller.account_id, &page, &found));
  out->page = registry_page_info(ctx->arena, &page, &found.n);
  out->data = found.data;
  out->n_data = found.n;
  if (out->page->has_more) {
    const Ecolink__V1__Model *last = found.data[found.n - 1];
    registry_page_cursor(ctx->arena, out->page, last->created_at->micros, last->id);
  }
  return eco_success();
}

eco_status registry_rpc_delete_model(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__DeleteModelRequest *r = request;
  Ecolink__V1__Model *model = NULL;
  int64_t live = 0;
  int64_t version = 0;
  const registry_owned what = {ctx->caller.account_id, r->id};
  ECO_TRY(find_model(ctx, r->id, REGISTRY_LOCK_UPDATE, &model));
  ECO_TRY(registry_pin_count(ctx->tx, model->id, &live));
  if (live > 0) {
    return eco_error(ECO_IN_USE, "%lld live instances use this model: stop them first", (long long)live);
  }
  ECO_TRY(registry_model_delete(ctx->tx, &what, ctx->now_us, &version));
  model->deleted = true;
  model->has_hf_token = false;
  ECO_TRY(eco_event_publish(ctx, ctx->tx, "model.deleted", model->id, version, &public_state(ctx->arena, model)->base));
  *(Ecolink__V1__Model *)reply = *model;
  return eco_success();
}

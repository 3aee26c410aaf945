// Handlers of the platform catalogue.
#include "ecolink/lists.h"
#include "handlers.h"
#include "models.h"
#include "store.h"

eco_status registry_rpc_put_platform_model(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__PutPlatformModelRequest *r = request;
  ECO_TRY(registry_platform_model_check(r));
  Ecolink__V1__PlatformModel entry;
  ecolink__v1__platform_model__init(&entry);
  entry.name = r->name;
  entry.repo = r->repo;
  entry.revision = eco_strdup(ctx->arena, registry_revision_or_default(r->revision));
  entry.category = r->category;
  entry.description = r->description;
  entry.created_at = eco_pb_time(ctx->arena, ctx->now_us);
  Ecolink__V1__PlatformModel *stored = NULL;
  ECO_TRY(registry_platform_put(ctx->tx, ctx->arena, &entry, &stored));
  *(Ecolink__V1__PlatformModel *)reply = *stored;
  return eco_success();
}

static eco_status find_entry(eco_ctx *ctx, const char *name, Ecolink__V1__PlatformModel **out) {
  ECO_TRY(registry_platform_find(ctx->tx, ctx->arena, name, out));
  if (*out == NULL) {
    return eco_error_param(ECO_NOT_FOUND, "name", "the catalogue has no such platform model");
  }
  return eco_success();
}

eco_status registry_rpc_get_platform_model(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetPlatformModelRequest *r = request;
  Ecolink__V1__PlatformModel *entry = NULL;
  ECO_TRY(find_entry(ctx, r->name, &entry));
  *(Ecolink__V1__PlatformModel *)reply = *entry;
  return eco_success();
}

eco_status registry_rpc_list_platform_models(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListPlatformModelsRequest *r = request;
  Ecolink__V1__PlatformModelList *out = reply;
  registry_page page;
  registry_platform_models found;
  ECO_TRY(registry_page_parse(r->limit, r->cursor, &page));
  ECO_TRY(registry_platform_list(ctx->tx, ctx->arena, &page, &found));
  out->page = registry_page_info(ctx->arena, &page, &found.n);
  out->data = found.data;
  out->n_data = found.n;
  if (out->page->has_more) {
    const Ecolink__V1__PlatformModel *last = found.data[found.n - 1];
    registry_page_cursor(ctx->arena, out->page, last->created_at->micros, last->name);
  }
  return eco_success();
}

// Instances that are based on the entry live from their launch snapshot, so nothing keeps it.
eco_status registry_rpc_delete_platform_model(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__DeletePlatformModelRequest *r = request;
  Ecolink__V1__PlatformModel *entry = NULL;
  ECO_TRY(find_entry(ctx, r->name, &entry));
  ECO_TRY(registry_platform_delete(ctx->tx, r->name));
  *(Ecolink__V1__PlatformModel *)reply = *entry;
  return eco_success();
}

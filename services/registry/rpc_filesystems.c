// Handlers of shared filesystems.
#include "ecolink/lists.h"
#include "handlers.h"
#include "names.h"
#include "paths.h"
#include "registry_limits.h"
#include "store.h"

#define MOUNT_DEFAULT "/shared"

eco_status registry_rpc_create_filesystem(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__CreateFilesystemRequest *r = request;
  Ecolink__V1__Filesystem *out = reply;
  if (!registry_name_valid(r->name)) {
    return eco_error_param(
        ECO_INVALID_REQUEST, "name",
        "a name begins with a letter or digit and holds up to %d letters, digits, '.', '_', '/' and '-'",
        REGISTRY_NAME_MAX);
  }
  if (!registry_region_valid(r->region)) {
    return eco_error_param(ECO_INVALID_REQUEST, "region",
                           "the name of the region that holds it is needed: see /regions");
  }
  char mount[REGISTRY_PATH_MAX + 1];
  registry_path_verdict verdict =
      registry_mount_normalise(r->mount_path[0] != '\0' ? r->mount_path : MOUNT_DEFAULT, mount);
  if (verdict != REGISTRY_PATH_OK) {
    return eco_error_param(ECO_INVALID_REQUEST, "mount_path", "%s", registry_path_complaint(verdict));
  }
  int64_t live = 0;
  ECO_TRY(registry_account_lock(ctx->tx, ctx->caller.account_id));
  ECO_TRY(registry_filesystem_count(ctx->tx, ctx->caller.account_id, &live));
  if (live >= REGISTRY_ACCOUNT_FILESYSTEMS_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "an account has at most %d filesystems: delete one first",
                     REGISTRY_ACCOUNT_FILESYSTEMS_MAX);
  }
  out->id = registry_new_id(ctx->arena, "fs");
  out->account_id = eco_strdup(ctx->arena, ctx->caller.account_id);
  out->name = r->name;
  out->region = r->region;
  out->mount_path = eco_strdup(ctx->arena, mount);
  out->created_at = eco_pb_time(ctx->arena, ctx->now_us);
  bool taken = false;
  ECO_TRY(registry_filesystem_insert(ctx->tx, out, &taken));
  if (taken) {
    return eco_error_param(ECO_NAME_TAKEN, "name", "this account has a filesystem of this name already");
  }
  return eco_success();
}

static eco_status find_filesystem(eco_ctx *ctx, const char *id, registry_lock lock, Ecolink__V1__Filesystem **out) {
  ECO_TRY(registry_filesystem_find(ctx->tx, ctx->arena, ctx->caller.account_id, id, lock, out));
  if (*out == NULL) {
    return eco_error_param(ECO_NOT_FOUND, "id", "this account has no such filesystem");
  }
  return eco_success();
}

eco_status registry_rpc_get_filesystem(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetFilesystemRequest *r = request;
  Ecolink__V1__Filesystem *fs = NULL;
  ECO_TRY(find_filesystem(ctx, r->id, REGISTRY_LOCK_NONE, &fs));
  *(Ecolink__V1__Filesystem *)reply = *fs;
  return eco_success();
}

eco_status registry_rpc_list_filesystems(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListFilesystemsRequest *r = request;
  Ecolink__V1__FilesystemList *out = reply;
  registry_page page;
  registry_filesystems found;
  ECO_TRY(registry_page_parse(r->limit, r->cursor, &page));
  ECO_TRY(registry_filesystem_list(ctx->tx, ctx->arena, ctx->caller.account_id, &page, &found));
  out->page = registry_page_info(ctx->arena, &page, &found.n);
  out->data = found.data;
  out->n_data = found.n;
  if (out->page->has_more) {
    const Ecolink__V1__Filesystem *last = found.data[found.n - 1];
    registry_page_cursor(ctx->arena, out->page, last->created_at->micros, last->id);
  }
  return eco_success();
}

eco_status registry_rpc_delete_filesystem(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__DeleteFilesystemRequest *r = request;
  Ecolink__V1__Filesystem *fs = NULL;
  int64_t models = 0;
  int64_t instances = 0;
  ECO_TRY(find_filesystem(ctx, r->id, REGISTRY_LOCK_UPDATE, &fs));
  ECO_TRY(registry_filesystem_used(ctx->tx, fs->id, &models, &instances));
  if (models > 0 || instances > 0) {
    return eco_error(ECO_IN_USE, "%lld models and %lld live instances use this filesystem: delete and stop them first",
                     (long long)models, (long long)instances);
  }
  ECO_TRY(registry_filesystem_delete(ctx->tx, &(registry_owned){ctx->caller.account_id, fs->id}, ctx->now_us));
  fs->deleted = true;
  *(Ecolink__V1__Filesystem *)reply = *fs;
  return eco_success();
}

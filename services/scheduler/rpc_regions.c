// Operator RPCs on regions and GPU types.
#include "rpc_regions.h"

#include <string.h>

#include "app.h"
#include "ecolink/lists.h"
#include "kube_region.h"
#include "launch_rules.h"
#include "region_pack.h"
#include "store.h"

static eco_status check_name(const char *name, size_t max) {
  if (!launch_name_ok(name) || strlen(name) >= max) {
    return eco_error_param(
        ECO_INVALID_REQUEST, "name",
        "A name begins with a letter or digit and holds letters, digits and . _ / - (fewer than %zu).", max);
  }
  return eco_success();
}

static const char *status_of(const region_row *row) {
  if (row->lost) {
    return "lost";
  }
  return row->unreachable ? "unreachable" : row->cordoned ? "cordoned" : "available";
}

static eco_status view_region(eco_ctx *ctx, const region_row *row, Ecolink__V1__Region *out) {
  room_row *rooms = NULL;
  size_t n = 0;
  ECO_TRY(store_region_rooms(ctx->tx, ctx->arena, row->name, &rooms, &n));
  out->name = eco_strdup(ctx->arena, row->name);
  out->driver = eco_strdup(ctx->arena, row->driver);
  out->status = eco_strdup(ctx->arena, status_of(row));
  out->status_detail = eco_strdup(ctx->arena, ctx->caller.role == ECOLINK__V1__ROLE__ROLE_OPERATOR ? row->trouble : "");
  out->n_gpus = n;
  out->gpus = eco_alloc_array(ctx->arena, n + 1, sizeof(*out->gpus));
  for (size_t k = 0; k < n; k++) {
    out->gpus[k] = eco_alloc(ctx->arena, sizeof(*out->gpus[k]));
    ecolink__v1__gpu_room__init(out->gpus[k]);
    out->gpus[k]->gpu_type = eco_strdup(ctx->arena, rooms[k].gpu_type);
    out->gpus[k]->total = rooms[k].total;
    out->gpus[k]->free = rooms[k].total > rooms[k].reserved ? rooms[k].total - rooms[k].reserved : 0;
  }
  return eco_success();
}

// The driver's own part, checked and packed.
static eco_status region_config(eco_arena *arena, const Ecolink__V1__PutRegionRequest *r, region_row *row) {
  row->config = (const uint8_t *)"";
  if (strcmp(r->driver, "kubernetes") != 0) {
    return r->kubernetes
               ? eco_error_param(ECO_INVALID_REQUEST, "kubernetes", "kubernetes belongs to a region of that driver.")
               : eco_success();
  }
  return region_pack(arena, r->name, r->kubernetes, row);
}

eco_status region_pack(eco_arena *arena, const char *name, const Ecolink__V1__KubernetesRegion *given,
                       region_row *row) {
  kube_place place;
  ECO_TRY(kube_place_build("", name, given, &place));
  row->config_len = ecolink__v1__kubernetes_region__get_packed_size(given);
  uint8_t *bytes = eco_alloc(arena, row->config_len + 1);
  (void)ecolink__v1__kubernetes_region__pack(given, bytes);
  row->config = bytes;
  return eco_success();
}

static bool same_namespace(const region_row *a, const region_row *b) {
  Ecolink__V1__KubernetesRegion *x = ecolink__v1__kubernetes_region__unpack(NULL, a->config_len, a->config);
  Ecolink__V1__KubernetesRegion *y = ecolink__v1__kubernetes_region__unpack(NULL, b->config_len, b->config);
  bool same = x && y && strcmp(kube_place_namespace(x), kube_place_namespace(y)) == 0;
  if (x) {
    ecolink__v1__kubernetes_region__free_unpacked(x, NULL);
  }
  if (y) {
    ecolink__v1__kubernetes_region__free_unpacked(y, NULL);
  }
  return same;
}

// Replicas that exist would be lost sight of: nobody would end them.
static eco_status check_move(eco_ctx *ctx, const region_row *next) {
  region_row now;
  bool used = false;
  eco_status st = store_region_get(ctx->tx, ctx->arena, next->name, &now);
  if (!eco_ok(st)) {
    return st.code == ECO_NOT_FOUND ? eco_success() : st;
  }
  ECO_TRY(store_region_is_used(ctx->tx, next->name, &used));
  bool moves =
      strcmp(now.driver, next->driver) != 0 || (strcmp(next->driver, "kubernetes") == 0 && !same_namespace(&now, next));
  return used && moves
             ? eco_error(ECO_IN_USE, "Region \"%s\" has replicas: its driver and namespace stay until they are gone.",
                         next->name)
             : eco_success();
}

eco_status rpc_put_region(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__PutRegionRequest *r = request;
  ECO_TRY(check_name(r->name, SCHED_REGION_MAX));
  if (strcmp(r->driver, "process") != 0 && strcmp(r->driver, "kubernetes") != 0) {
    return eco_error_param(ECO_INVALID_REQUEST, "driver", "driver is \"process\" or \"kubernetes\".");
  }
  if (r->lost && strcmp(r->driver, "kubernetes") != 0) {
    return eco_error_param(
        ECO_INVALID_REQUEST, "lost",
        "A region of driver \"process\" is the scheduler's own machine: it is not lost while it answers.");
  }
  region_row row = {.name = r->name, .driver = r->driver, .cordoned = r->cordoned, .lost = r->lost};
  if (r->confirm_prune) {
    ECO_TRY(store_region_confirm_prune(ctx->tx, r->name));
    ECO_TRY(store_region_get(ctx->tx, ctx->arena, r->name, &row));
    return view_region(ctx, &row, reply);
  }
  ECO_TRY(region_config(ctx->arena, r, &row));
  ECO_TRY(check_move(ctx, &row));
  ECO_TRY(store_region_put(ctx->tx, &row, ctx->now_us));
  ECO_TRY(store_rooms_lock(ctx->tx));
  const char **kept = eco_alloc_array(ctx->arena, r->n_gpus + 1, sizeof(*kept));
  for (size_t k = 0; k < r->n_gpus; k++) {
    if (r->gpus[k]->total < 0) {
      return eco_error_param(ECO_INVALID_REQUEST, "gpus", "A region holds no negative number of GPUs.");
    }
    kept[k] = r->gpus[k]->gpu_type;
    ECO_TRY(store_room_put(ctx->tx, r->name, r->gpus[k]->gpu_type, r->gpus[k]->total));
  }
  ECO_TRY(store_rooms_drop_others(ctx->tx, r->name, kept, r->n_gpus));
  ECO_TRY(store_region_get(ctx->tx, ctx->arena, r->name, &row));
  return view_region(ctx, &row, reply);
}

eco_status rpc_get_region(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetRegionRequest *r = request;
  region_row row;
  ECO_TRY(store_region_get(ctx->tx, ctx->arena, r->name, &row));
  return view_region(ctx, &row, reply);
}

eco_status rpc_list_regions(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListRegionsRequest *r = request;
  Ecolink__V1__RegionList *out = reply;
  int32_t limit = 0;
  ECO_TRY(eco_page_limit(r->limit, SCHED_LIST_DEFAULT, SCHED_LIST_MAX, &limit));
  region_row *list = NULL;
  size_t n = 0;
  ECO_TRY(store_region_list(ctx->tx, ctx->arena, r->cursor, limit + 1, &list, &n));
  bool more = n > (size_t)limit;
  out->n_data = more ? (size_t)limit : n;
  out->data = eco_alloc_array(ctx->arena, out->n_data + 1, sizeof(*out->data));
  for (size_t k = 0; k < out->n_data; k++) {
    out->data[k] = eco_alloc(ctx->arena, sizeof(*out->data[k]));
    ecolink__v1__region__init(out->data[k]);
    ECO_TRY(view_region(ctx, &list[k], out->data[k]));
  }
  out->page = eco_pb_page(ctx->arena, more ? list[out->n_data - 1].name : NULL);
  return eco_success();
}

eco_status rpc_delete_region(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__DeleteRegionRequest *r = request;
  region_row row;
  ECO_TRY(store_region_get(ctx->tx, ctx->arena, r->name, &row));
  ECO_TRY(view_region(ctx, &row, reply));
  return store_region_delete(ctx->tx, r->name);
}

static void view_type(eco_arena *arena, const gpu_type_row *row, Ecolink__V1__GpuType *out) {
  out->name = eco_strdup(arena, row->name);
  out->description = eco_strdup(arena, row->description);
  out->memory_gb = row->memory_gb;
  out->hourly_rate = eco_pb_money(arena, row->hourly_rate_micros);
  out->retired = row->retired;
}

eco_status rpc_put_gpu_type(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__PutGpuTypeRequest *r = request;
  ECO_TRY(check_name(r->name, SCHED_GPU_TYPE_MAX));
  if (!r->hourly_rate || r->hourly_rate->micros < 0 || r->hourly_rate->micros > SCHED_RATE_MICROS_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "hourly_rate",
                           "A GPU type needs an hourly rate between 0 and 1000000 dollars.");
  }
  if (r->memory_gb < 0 || r->memory_gb > SCHED_MEMORY_GB_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "memory_gb", "memory_gb must be between 0 and %d.",
                           SCHED_MEMORY_GB_MAX);
  }
  gpu_type_row row = {.name = r->name,
                      .description = r->description,
                      .memory_gb = r->memory_gb,
                      .hourly_rate_micros = r->hourly_rate->micros};
  ECO_TRY(store_gpu_type_put(ctx->tx, &row, ctx->now_us));
  view_type(ctx->arena, &row, reply);
  return eco_success();
}

eco_status rpc_get_gpu_type(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetGpuTypeRequest *r = request;
  gpu_type_row row;
  ECO_TRY(store_gpu_type_get(ctx->tx, ctx->arena, r->name, &row));
  view_type(ctx->arena, &row, reply);
  return eco_success();
}

eco_status rpc_list_gpu_types(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListGpuTypesRequest *r = request;
  Ecolink__V1__GpuTypeList *out = reply;
  int32_t limit = 0;
  ECO_TRY(eco_page_limit(r->limit, SCHED_LIST_DEFAULT, SCHED_LIST_MAX, &limit));
  gpu_type_row *list = NULL;
  size_t n = 0;
  ECO_TRY(store_gpu_type_list(ctx->tx, ctx->arena, r->cursor, limit + 1, &list, &n));
  bool more = n > (size_t)limit;
  out->n_data = more ? (size_t)limit : n;
  out->data = eco_alloc_array(ctx->arena, out->n_data + 1, sizeof(*out->data));
  for (size_t k = 0; k < out->n_data; k++) {
    out->data[k] = eco_alloc(ctx->arena, sizeof(*out->data[k]));
    ecolink__v1__gpu_type__init(out->data[k]);
    view_type(ctx->arena, &list[k], out->data[k]);
  }
  out->page = eco_pb_page(ctx->arena, more ? list[out->n_data - 1].name : NULL);
  return eco_success();
}

eco_status rpc_delete_gpu_type(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__DeleteGpuTypeRequest *r = request;
  gpu_type_row row;
  ECO_TRY(store_gpu_type_get(ctx->tx, ctx->arena, r->name, &row));
  view_type(ctx->arena, &row, reply);
  return store_gpu_type_delete(ctx->tx, r->name);
}

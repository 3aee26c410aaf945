// SEED_FILE: {"gpu_types":[{"name","description","memory_gb","hourly_rate"|"hourly_rate_micros"}],
//             "regions":[{"name","driver","gpus":[{"gpu_type","total"}],"kubernetes":{...}}]}. Creates what is absent;
//             changes nothing that exists.
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "ecolink/clock.h"
#include "ecolink/json_pb.h"
#include "ecolink/money.h"
#include "launch_rules.h"
#include "region_pack.h"
#include "rpc_regions.h"
#include "store.h"

static const char *str(yyjson_val *obj, const char *key) {
  const char *s = yyjson_get_str(yyjson_obj_get(obj, key));
  return s ? s : "";
}

static eco_status seed_type(eco_tx *tx, eco_arena *arena, yyjson_val *v) {
  gpu_type_row row = {.name = str(v, "name"),
                      .description = str(v, "description"),
                      .memory_gb = (int)yyjson_get_int(yyjson_obj_get(v, "memory_gb")),
                      .hourly_rate_micros = yyjson_get_sint(yyjson_obj_get(v, "hourly_rate_micros"))};
  const char *dollars = str(v, "hourly_rate");
  if (*dollars && !eco_money_parse(dollars, &row.hourly_rate_micros)) {
    return eco_error(ECO_INVALID_REQUEST, "seed: \"%s\" is no amount of dollars", dollars);
  }
  if (!launch_name_ok(row.name) || strlen(row.name) >= SCHED_GPU_TYPE_MAX || row.hourly_rate_micros < 0 ||
      row.hourly_rate_micros > SCHED_RATE_MICROS_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "seed: GPU type \"%s\" needs a name and an hourly rate of zero or more",
                     row.name);
  }
  gpu_type_row old;
  eco_status st = store_gpu_type_get(tx, arena, row.name, &old);
  return st.code == ECO_NOT_FOUND ? store_gpu_type_put(tx, &row, eco_now_us()) : st;
}

static eco_status seed_kubernetes(eco_arena *arena, yyjson_val *v, region_row *row) {
  size_t len = 0;
  ProtobufCMessage *given = NULL;
  char *json = v ? yyjson_val_write(v, 0, &len) : NULL;
  if (!json) {
    return eco_error(ECO_INVALID_REQUEST, "a region of driver kubernetes needs its member kubernetes");
  }
  eco_status st = eco_json_to_pb(json, len, &ecolink__v1__kubernetes_region__descriptor, NULL, arena, &given);
  free(json);
  ECO_TRY(st);
  return region_pack(arena, row->name, (const Ecolink__V1__KubernetesRegion *)given, row);
}

static eco_status seed_region(eco_tx *tx, eco_arena *arena, yyjson_val *v) {
  region_row row = {.name = str(v, "name"), .driver = *str(v, "driver") ? str(v, "driver") : "process"};
  if (!launch_name_ok(row.name) || strlen(row.name) >= SCHED_REGION_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "seed: \"%s\" is no name for a region", row.name);
  }
  region_row old;
  eco_status st = store_region_get(tx, arena, row.name, &old);
  if (st.code != ECO_NOT_FOUND) {
    return st;
  }
  row.config = (const uint8_t *)"";
  if (strcmp(row.driver, "kubernetes") == 0) {
    ECO_TRY(eco_context(seed_kubernetes(arena, yyjson_obj_get(v, "kubernetes"), &row), "seed: region %s", row.name));
  }
  ECO_TRY(store_region_put(tx, &row, eco_now_us()));
  size_t i;
  size_t n;
  yyjson_val *g;
  yyjson_val *gpus = yyjson_obj_get(v, "gpus");
  yyjson_arr_foreach(gpus, i, n, g) {
    ECO_TRY(store_room_put(tx, row.name, str(g, "gpu_type"), (int)yyjson_get_int(yyjson_obj_get(g, "total"))));
  }
  return eco_success();
}

static eco_status seed_all(eco_tx *tx, eco_arena *arena, yyjson_val *root) {
  size_t i;
  size_t n;
  yyjson_val *v;
  yyjson_val *types = yyjson_obj_get(root, "gpu_types");
  yyjson_arr_foreach(types, i, n, v) {
    ECO_TRY(seed_type(tx, arena, v));
  }
  yyjson_val *regions = yyjson_obj_get(root, "regions");
  yyjson_arr_foreach(regions, i, n, v) {
    ECO_TRY(seed_region(tx, arena, v));
  }
  return eco_success();
}

eco_status seed_apply(eco_db *db, const char *path) {
  yyjson_read_err err;
  yyjson_doc *doc = yyjson_read_file(path, 0, NULL, &err);
  if (!doc) {
    return eco_error(ECO_INVALID_JSON, "seed file %s: %s at byte %zu", path, err.msg, err.pos);
  }
  eco_arena *arena = eco_arena_new();
  eco_tx *tx = NULL;
  eco_status st = eco_tx_begin(db, &tx);
  if (eco_ok(st)) {
    st = seed_all(tx, arena, yyjson_doc_get_root(doc));
    if (eco_ok(st)) {
      st = eco_tx_commit(tx);
    } else {
      eco_tx_rollback(tx);
    }
  }
  eco_arena_free(arena);
  yyjson_doc_free(doc);
  return eco_context(st, "seed file %s", path);
}

// Moving a replica to another region.
#include "move.h"

#include <stdio.h>

#include "placement.h"
#include "store.h"

static const char *choose(eco_arena *arena, const instance_row *inst, const instance_blobs *blobs,
                          const placement_room *rooms, size_t n) {
  const Ecolink__V1__LaunchRequest *launch =
      ecolink__v1__launch_request__unpack(eco_arena_pb(arena), blobs->spec_len, blobs->spec);
  const Ecolink__V1__AcquireModelResponse *model =
      ecolink__v1__acquire_model_response__unpack(eco_arena_pb(arena), blobs->model_len, blobs->model);
  if (!launch || !model || model->n_filesystems > 0) {
    return NULL;  // filesystems are mounted where they lie
  }
  placement_request ask = {.pinned_region = "",
                           .wanted = (const char *const *)launch->regions,
                           .wanted_count = launch->n_regions,
                           .gpu_type = inst->gpu_type,
                           .gpu_count = inst->gpu_count};
  const char *taken[SCHED_REPLICAS_MAX];
  for (int i = 0; i < inst->replica_count; i++) {
    taken[i] = inst->replicas[i].region;
  }
  return placement_other_region(&ask, rooms, n, taken, (size_t)inst->replica_count);
}

eco_status move_replica(eco_ctx *ctx, eco_tx *tx, instance_row *inst, replica_row *r, const char *why) {
  instance_blobs blobs;
  placement_room *rooms = NULL;
  size_t n = 0;
  ECO_TRY(store_instance_blobs(tx, ctx->arena, inst->id, &blobs));
  ECO_TRY(store_rooms(tx, ctx->arena, STORE_LOCK, &rooms, &n));
  const char *to = choose(ctx->arena, inst, &blobs, rooms, n);
  if (!to || !r->reserved) {
    return eco_success();
  }
  ECO_TRY(store_room_reserve(tx, r->region, inst->gpu_type, -inst->gpu_count));
  ECO_TRY(store_room_reserve(tx, to, inst->gpu_type, inst->gpu_count));
  const char *message = eco_sprintf(ctx->arena, "%s: replica %d moves to %s.", why, r->id, to);
  snprintf(r->region, sizeof(r->region), "%s", to);
  r->run_id[0] = r->host[0] = '\0';
  r->port = 0;
  r->dirty = true;
  return store_event_append(tx, inst, ctx->now_us, "replica.moved", r->id, message);
}

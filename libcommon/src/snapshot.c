// Snapshots served to consumers: pages of an entity's whole states, by ascending id.
#include <string.h>

#include "kit.h"

enum { SNAPSHOT_LIMIT_MAX = 500, SNAPSHOT_BYTES_MAX = 400 * 1024 };

struct eco_snapshot_sink {
  eco_arena *arena;
  Ecolink__V1__SnapshotEntity **entities;
  size_t count, cap;
  size_t bytes;
  bool full;  // the page is cut: what came after is asked for again
};

void eco_snapshot_add(eco_snapshot_sink *sink, const char *entity_id, int64_t version, const ProtobufCMessage *state) {
  size_t n = protobuf_c_message_get_packed_size(state);
  if (sink->full || sink->count == sink->cap || (sink->count > 0 && sink->bytes + n > SNAPSHOT_BYTES_MAX)) {
    sink->full = true;
    return;
  }
  Ecolink__V1__SnapshotEntity *e = eco_alloc(sink->arena, sizeof *e);
  ecolink__v1__snapshot_entity__init(e);
  e->entity_id = eco_strdup(sink->arena, entity_id);
  e->version = version;
  e->state.len = n;
  e->state.data = eco_alloc(sink->arena, n + 1);
  protobuf_c_message_pack(state, e->state.data);
  sink->entities[sink->count++] = e;
  sink->bytes += n;
}

eco_status kit_rpc_snapshot(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__SnapshotRequest *req = request;
  Ecolink__V1__SnapshotPage *page = reply;
  const eco_snapshot_def *def = ctx->service->def->snapshots;
  while (def != NULL && def->entity != NULL && strcmp(def->entity, req->entity) != 0) {
    def++;
  }
  if (def == NULL || def->entity == NULL) {
    return eco_error_param(ECO_INVALID_REQUEST, "entity", "no snapshots of %s here", req->entity);
  }
  int limit = req->limit > 0 && req->limit < SNAPSHOT_LIMIT_MAX ? req->limit : SNAPSHOT_LIMIT_MAX;
  eco_snapshot_sink sink = {.arena = ctx->arena, .cap = (size_t)limit};
  sink.entities = eco_alloc_array(ctx->arena, sink.cap, sizeof(*sink.entities));
  ECO_TRY(def->fn(ctx, req->after_id, limit, &sink));
  page->entities = sink.entities;
  page->n_entities = sink.count;
  page->done = !sink.full && sink.count < (size_t)limit;
  page->next_after_id =
      sink.count > 0 ? sink.entities[sink.count - 1]->entity_id : eco_strdup(ctx->arena, req->after_id);
  return eco_success();
}

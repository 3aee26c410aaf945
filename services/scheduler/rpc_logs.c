// Log access: lines by position, so that a follower has back-pressure and cancel by construction.
// Cursor: "<offset of replica 1>,<offset of replica 2>".
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "ecolink/lists.h"
#include "rpc_instances.h"
#include "stop.h"
#include "store.h"

typedef struct collector {
  eco_arena *arena;
  Ecolink__V1__InstanceLogs *out;
  const replica_row *replica;
  size_t bytes;
} collector;

static void on_line(void *arg, const char *line, size_t len) {
  collector *c = arg;
  Ecolink__V1__LogLine *l = eco_alloc(c->arena, sizeof(*l));
  ecolink__v1__log_line__init(l);
  l->replica_id = c->replica->id;
  l->region = eco_strdup(c->arena, c->replica->region);
  l->text = eco_strndup(c->arena, line, len < SCHED_LOG_LINE_BYTES_MAX ? len : SCHED_LOG_LINE_BYTES_MAX);
  c->bytes += strlen(l->text) + strlen(l->region) + 16;
  c->out->data[c->out->n_data++] = l;
}

static eco_status parse_cursor(const char *cursor, int64_t offsets[SCHED_REPLICAS_MAX]) {
  for (int i = 0; i < SCHED_REPLICAS_MAX; i++) {
    offsets[i] = -1;
  }
  const char *p = cursor;
  for (int i = 0; *p && i < SCHED_REPLICAS_MAX; i++) {
    char *end = NULL;
    offsets[i] = strtoll(p, &end, 10);
    if (end == p || (*end && *end != ',') || offsets[i] < -1) {
      return eco_error_param(ECO_INVALID_REQUEST, "cursor",
                             "This cursor is none of ours: take next_cursor of the answer before.");
    }
    p = *end ? end + 1 : end;
  }
  return eco_success();
}

eco_status rpc_read_logs(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ReadInstanceLogsRequest *r = request;
  Ecolink__V1__InstanceLogs *out = reply;
  int64_t offsets[SCHED_REPLICAS_MAX];
  instance_row inst;
  ECO_TRY(parse_cursor(r->cursor, offsets));
  if (r->tail_lines < 0 || r->tail_lines > SCHED_LOG_LINES_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "tail_lines", "tail_lines must be between 1 and %d.",
                           SCHED_LOG_LINES_MAX);
  }
  ECO_TRY(instance_load_own(ctx, ctx->tx, r->id, false, &inst));
  int lines = r->tail_lines ? r->tail_lines : SCHED_LOG_LINES_DEFAULT;
  out->data = eco_alloc_array(ctx->arena, (size_t)lines * SCHED_REPLICAS_MAX + 1, sizeof(*out->data));
  collector c = {.arena = ctx->arena, .out = out};
  bool read_all = true;
  for (int i = 0; i < inst.replica_count; i++) {
    c.replica = &inst.replicas[i];
    if (r->replica_id && r->replica_id != c.replica->id) {
      continue;
    }
    // what fits of one answer: the rest comes with the next call
    int room = (int)((SCHED_LOG_REPLY_BYTES_MAX - c.bytes) / (SCHED_LOG_LINE_BYTES_MAX + SCHED_REGION_MAX));
    int most = lines < room ? lines : room;
    region_row region;
    ECO_TRY(store_region_get(ctx->tx, ctx->arena, c.replica->region, &region));
    driver *d = app_driver(region.driver);
    size_t before = out->n_data;
    if (d && most > 0) {
      ECO_TRY(d->ops->logs(d, region.name, inst.id, c.replica->id, offsets[i], most, on_line, &c, &offsets[i]));
    }
    read_all = read_all && (int)(out->n_data - before) < most;
  }
  out->ended = !instance_is_live(&inst) && read_all;
  out->next_cursor = eco_sprintf(ctx->arena, "%lld,%lld", (long long)offsets[0], (long long)offsets[1]);
  return eco_success();
}

// Log access: lines by position, so that a follower has back-pressure and cancel by construction.
// Cursor: "<offset of replica 1>,<offset of replica 2>".
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "ecolink/lists.h"
#include "rpc_instances.h"
#include "stop.h"
#include "store.h"

enum { KEPT_TOLD = 1 };  // a position behind every kept line, and before every moment that a log could name

typedef struct collector {
  eco_arena *arena;
  Ecolink__V1__LogLine **lines;
  size_t count;
  size_t cap;
  const replica_row *replica;
} collector;

static void on_line(void *arg, const char *line, size_t len) {
  collector *c = arg;
  if (c->count == c->cap) {
    return;
  }
  Ecolink__V1__LogLine *l = eco_alloc(c->arena, sizeof(*l));
  ecolink__v1__log_line__init(l);
  l->replica_id = c->replica->id;
  l->region = eco_strdup(c->arena, c->replica->region);
  l->text = eco_strndup(c->arena, line, len < SCHED_LOG_LINE_BYTES_MAX ? len : SCHED_LOG_LINE_BYTES_MAX);
  c->lines[c->count++] = l;
}

static size_t line_bytes(const Ecolink__V1__LogLine *l) {
  return strlen(l->text) + strlen(l->region) + 16;
}

// The newest of lines[from..] that fit into an answer's share; a tail loses its oldest lines, not its newest.
static void keep_newest(const collector *c, size_t from, size_t share, Ecolink__V1__InstanceLogs *out) {
  size_t bytes = 0;
  size_t first = c->count;
  while (first > from && bytes + line_bytes(c->lines[first - 1]) <= share) {
    bytes += line_bytes(c->lines[--first]);
  }
  for (size_t k = first; k < c->count; k++) {
    out->data[out->n_data++] = c->lines[k];
  }
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

// The lines that were kept when it was removed, told once: as the tail, or to who followed it from the beginning.
static eco_status tell_kept(eco_ctx *ctx, int64_t instance_id, int most, collector *c, int64_t *offset) {
  eco_tx *tx = NULL;
  const char *lines = "";
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_logs_read(tx, ctx->arena, instance_id, c->replica->id, &lines);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  int count = 0;
  for (const char *p = lines; *p; p += strcspn(p, "\n") + 1) {
    count++;
  }
  for (const char *p = lines; *p; p += strcspn(p, "\n") + 1) {
    if (count-- <= most) {
      on_line(c, p, strcspn(p, "\n"));
    }
  }
  *offset = KEPT_TOLD;
  return eco_success();
}

static eco_status load(eco_ctx *ctx, int64_t id, instance_row *inst, driver *drivers[SCHED_REPLICAS_MAX]) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = instance_load_own(ctx, tx, id, false, inst);
  for (int i = 0; eco_ok(st) && i < inst->replica_count; i++) {
    region_row region;
    st = store_region_get(tx, ctx->arena, inst->replicas[i].region, &region);
    drivers[i] = eco_ok(st) ? app_driver(region.driver) : NULL;
  }
  eco_tx_rollback(tx);
  return st;
}

eco_status rpc_read_logs(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ReadInstanceLogsRequest *r = request;
  Ecolink__V1__InstanceLogs *out = reply;
  int64_t offsets[SCHED_REPLICAS_MAX];
  driver *drivers[SCHED_REPLICAS_MAX] = {NULL};
  instance_row inst;
  ECO_TRY(parse_cursor(r->cursor, offsets));
  if (r->replica_id < 0) {
    return eco_error_param(ECO_INVALID_REQUEST, "replica_id", "replica_id is no replica's number.");
  }
  if (r->tail_lines < 0 || r->tail_lines > SCHED_LOG_LINES_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "tail_lines", "tail_lines must be between 1 and %d.",
                           SCHED_LOG_LINES_MAX);
  }
  ECO_TRY(load(ctx, r->id, &inst, drivers));
  int lines = r->tail_lines ? r->tail_lines : SCHED_LOG_LINES_DEFAULT;
  size_t share = SCHED_LOG_REPLY_BYTES_MAX / SCHED_REPLICAS_MAX;
  // A follower loses nothing: it reads no more than fits whatever the lines' length, and comes again.
  int following = (int)(share / (SCHED_LOG_LINE_BYTES_MAX + SCHED_REGION_MAX + 16));
  size_t cap = (size_t)(lines > following ? lines : following) * SCHED_REPLICAS_MAX;
  collector c = {.arena = ctx->arena, .lines = eco_alloc_array(ctx->arena, cap, sizeof(*c.lines)), .cap = cap};
  out->data = eco_alloc_array(ctx->arena, cap, sizeof(*out->data));
  bool read_all = true;
  for (int i = 0; i < inst.replica_count && i < SCHED_REPLICAS_MAX; i++) {
    c.replica = &inst.replicas[i];
    if (!drivers[i] || (r->replica_id && r->replica_id != c.replica->id)) {
      continue;
    }
    size_t from = c.count;
    int64_t before = offsets[i];
    int most = before < 0 ? lines : following;
    ECO_TRY(drivers[i]->ops->logs(drivers[i], c.replica->region, inst.id, c.replica->id, offsets[i], most, on_line, &c,
                                  &offsets[i]));
    if (c.count == from && !instance_is_live(&inst) && before <= 0) {
      ECO_TRY(tell_kept(ctx, inst.id, lines, &c, &offsets[i]));
    } else {
      read_all = read_all && (int)(c.count - from) < most;
    }
    keep_newest(&c, from, share, out);
  }
  out->ended = !instance_is_live(&inst) && read_all;
  out->next_cursor = eco_sprintf(ctx->arena, "%lld,%lld", (long long)offsets[0], (long long)offsets[1]);
  return eco_success();
}

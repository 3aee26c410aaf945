// ReadMeter. One snapshot of the database serves all queries of a call, so watermark and intervals agree. An answer is
// bounded: what did not fit is told by next_from_us.
#include "rpc_meter.h"

#include <string.h>

#include "store.h"

// Tells what there is room for, oldest first. Without room for all, the rest is asked for again from where it begins.
static void cut(int64_t from_us, size_t *room, Ecolink__V1__MeterReading *out) {
  enum { FRAME_BYTES = 8 };  // tag and length around each interval
  size_t n = 0;
  for (; n < out->n_intervals && n < SCHED_METER_INTERVALS_MAX; n++) {
    size_t bytes = ecolink__v1__meter_interval__get_packed_size(out->intervals[n]) + FRAME_BYTES;
    if (bytes > *room) {
      *room = 0;
      break;
    }
    *room -= bytes;
  }
  if (n < out->n_intervals) {
    int64_t next_us = out->intervals[n]->started_at_us;
    out->next_from_us = next_us > from_us ? next_us : from_us;
    out->n_intervals = n;
  }
}

static eco_status read_one(eco_ctx *ctx, const Ecolink__V1__MeterQuery *q, size_t *room,
                           Ecolink__V1__MeterReading *out) {
  instance_row inst;
  out->instance_id = q->instance_id;
  eco_status st = store_instance_load(ctx->tx, ctx->arena, q->instance_id, STORE_READ, &inst);
  if (st.code == ECO_NOT_FOUND || (eco_ok(st) && strcmp(inst.launch_state, "discarded") == 0)) {
    return eco_success();  // known stays false
  }
  ECO_TRY(st);
  out->known = true;
  out->status = inst.status;
  out->stop_requested_at_us = inst.charge_end_us;
  bool open = false;
  for (int i = 0; i < inst.replica_count; i++) {
    open = open || inst.replicas[i].interval_started_us != 0;
  }
  // No interval is opened after the charge's end: the row's lock orders the two.
  out->complete = inst.charge_end_us != 0 && !open;
  ECO_TRY(store_watermark_of(ctx->tx, inst.id, &out->observed_until_us));
  int limit = *room > 0 ? SCHED_METER_INTERVALS_MAX + 1 : 1;  // without room only where to go on is of interest
  ECO_TRY(store_intervals(ctx->tx, ctx->arena, inst.id, q->from_us, limit, &out->intervals, &out->n_intervals));
  cut(q->from_us, room, out);
  return eco_success();
}

eco_status rpc_read_meter(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ReadMeterRequest *r = request;
  Ecolink__V1__ReadMeterResponse *out = reply;
  if (r->n_queries > SCHED_METER_QUERIES_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "queries", "At most %d instances a call.", SCHED_METER_QUERIES_MAX);
  }
  size_t room = SCHED_METER_REPLY_BYTES_MAX;
  out->n_readings = r->n_queries;
  out->readings = eco_alloc_array(ctx->arena, r->n_queries + 1, sizeof(*out->readings));
  for (size_t k = 0; k < r->n_queries; k++) {
    out->readings[k] = eco_alloc(ctx->arena, sizeof(*out->readings[k]));
    ecolink__v1__meter_reading__init(out->readings[k]);
    ECO_TRY(read_one(ctx, r->queries[k], &room, out->readings[k]));
  }
  return eco_success();
}

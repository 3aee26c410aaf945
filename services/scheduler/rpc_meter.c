// ReadMeter. One snapshot of the database serves all queries of a call, so watermark and intervals agree.
#include "rpc_meter.h"

#include <string.h>

#include "store.h"

static eco_status read_one(eco_ctx *ctx, const Ecolink__V1__MeterQuery *q, Ecolink__V1__MeterReading *out) {
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
  return store_intervals(ctx->tx, ctx->arena, inst.id, q->from_us, &out->intervals, &out->n_intervals);
}

eco_status rpc_read_meter(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ReadMeterRequest *r = request;
  Ecolink__V1__ReadMeterResponse *out = reply;
  if (r->n_queries > SCHED_METER_QUERIES_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "queries", "At most %d instances a call.", SCHED_METER_QUERIES_MAX);
  }
  out->n_readings = r->n_queries;
  out->readings = eco_alloc_array(ctx->arena, r->n_queries + 1, sizeof(*out->readings));
  for (size_t k = 0; k < r->n_queries; k++) {
    out->readings[k] = eco_alloc(ctx->arena, sizeof(*out->readings[k]));
    ecolink__v1__meter_reading__init(out->readings[k]);
    ECO_TRY(read_one(ctx, r->queries[k], out->readings[k]));
  }
  return eco_success();
}

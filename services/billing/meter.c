// ReadMeter in batches.
#include "meter.h"

#include "billing_limits.h"
#include "ecolink/crash.h"
#include "ecolink/v1/scheduler.pb-c.h"

static void take_reading(eco_arena *arena, const Ecolink__V1__MeterReading *m, meter_reading *out) {
  cycle_interval *intervals = eco_alloc_array(arena, m->n_intervals, sizeof *intervals);
  for (size_t i = 0; i < m->n_intervals; i++) {
    intervals[i] =
        (cycle_interval){m->intervals[i]->replica_id, m->intervals[i]->started_at_us, m->intervals[i]->ended_at_us};
  }
  cycle_sort(intervals, m->n_intervals);
  *out = (meter_reading){
      .read = true,
      .status = (int)m->status,
      .rule = {.known = m->known,
               .stopping = m->status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPING,
               .over = m->status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED ||
                       m->status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_FAILED,
               .complete = m->complete,
               .stop_requested_at_us = m->stop_requested_at_us,
               .observed_until_us = m->observed_until_us,
               .intervals = intervals,
               .count = m->n_intervals},
  };
}

static eco_status read_batch(eco_ctx *ctx, const store_hold *holds, size_t count, meter_reading *out) {
  Ecolink__V1__ReadMeterRequest request = ECOLINK__V1__READ_METER_REQUEST__INIT;
  request.n_queries = count;
  request.queries = eco_alloc_array(ctx->arena, count, sizeof *request.queries);
  for (size_t i = 0; i < count; i++) {
    Ecolink__V1__MeterQuery *q = eco_alloc(ctx->arena, sizeof *q);
    ecolink__v1__meter_query__init(q);
    q->instance_id = holds[i].instance_id;
    q->from_us = holds[i].rule.settled_until_us;
    request.queries[i] = q;
  }
  Ecolink__V1__ReadMeterResponse *response;
  ECO_TRY(eco_rpc_call(ctx, "scheduler.ReadMeter", &request.base, &ecolink__v1__read_meter_response__descriptor,
                       BILLING_METER_TIMEOUT_MS, &response));
  ECO_CRASH_POINT("billing.meter.read");
  for (size_t r = 0; r < response->n_readings; r++) {
    for (size_t i = 0; i < count; i++) {
      if (holds[i].instance_id == response->readings[r]->instance_id) {
        take_reading(ctx->arena, response->readings[r], &out[i]);
      }
    }
  }
  return eco_success();
}

eco_status meter_read(eco_ctx *ctx, const store_hold *holds, size_t count, meter_reading *out) {
  eco_status last = eco_success();
  for (size_t from = 0; from < count; from += BILLING_METER_BATCH) {
    size_t n = count - from < BILLING_METER_BATCH ? count - from : BILLING_METER_BATCH;
    eco_status st = read_batch(ctx, holds + from, n, out + from);
    if (!eco_ok(st)) {
      last = st;
    }
  }
  return last;
}

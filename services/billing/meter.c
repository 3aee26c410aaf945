// ReadMeter in batches; each is asked again until every interval is told.
#include "meter.h"

#include <string.h>

#include "billing_limits.h"
#include "ecolink/crash.h"
#include "ecolink/v1/scheduler.pb-c.h"

// What has been told of one hold's instance so far.
typedef struct gathered {
  const Ecolink__V1__MeterReading *first;  // its watermark, state and completeness count for all that follows
  int64_t from_us;                         // where the next answer begins
  bool done;
  cycle_interval *intervals;
  size_t count, room;
} gathered;

static void add_intervals(eco_arena *arena, const Ecolink__V1__MeterReading *m, gathered *g) {
  if (g->count + m->n_intervals > g->room) {
    size_t room = (g->count + m->n_intervals) * 2;
    cycle_interval *grown = eco_alloc_array(arena, room, sizeof *grown);
    if (g->count > 0) {
      memcpy(grown, g->intervals, g->count * sizeof *grown);
    }
    g->intervals = grown;
    g->room = room;
  }
  for (size_t i = 0; i < m->n_intervals; i++) {
    g->intervals[g->count++] =
        (cycle_interval){m->intervals[i]->replica_id, m->intervals[i]->started_at_us, m->intervals[i]->ended_at_us};
  }
}

static void take_reading(const gathered *g, meter_reading *out) {
  const Ecolink__V1__MeterReading *m = g->first;
  cycle_sort(g->intervals, g->count);
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
               .intervals = g->intervals,
               .count = g->count},
  };
}

// False: it brought nothing new.
static bool take_answer(eco_arena *arena, const Ecolink__V1__MeterReading *m, gathered *g, meter_reading *out) {
  bool goes_on = m->next_from_us > g->from_us;
  g->first = g->first != NULL ? g->first : m;
  add_intervals(arena, m, g);
  g->done = m->next_from_us == 0;
  g->from_us = m->next_from_us;
  if (g->done) {
    take_reading(g, out);
  }
  return g->done || goes_on;
}

// One answer for every hold that is not told whole yet. *left: how many still are not; *news: it was of use.
static eco_status read_page(eco_ctx *ctx, const store_hold *holds, size_t count, gathered *all, meter_reading *out,
                            size_t *left, bool *news) {
  Ecolink__V1__ReadMeterRequest request = ECOLINK__V1__READ_METER_REQUEST__INIT;
  request.queries = eco_alloc_array(ctx->arena, count, sizeof *request.queries);
  for (size_t i = 0; i < count; i++) {
    if (!all[i].done) {
      Ecolink__V1__MeterQuery *q = eco_alloc(ctx->arena, sizeof *q);
      ecolink__v1__meter_query__init(q);
      q->instance_id = holds[i].instance_id;
      q->from_us = all[i].from_us;
      request.queries[request.n_queries++] = q;
    }
  }
  Ecolink__V1__ReadMeterResponse *response;
  ECO_TRY(eco_rpc_call(ctx, "scheduler.ReadMeter", &request.base, &ecolink__v1__read_meter_response__descriptor,
                       BILLING_METER_TIMEOUT_MS, &response));
  ECO_CRASH_POINT("billing.meter.read");
  *left = request.n_queries;
  *news = false;
  for (size_t r = 0; r < response->n_readings; r++) {
    for (size_t i = 0; i < count; i++) {
      if (holds[i].instance_id == response->readings[r]->instance_id && !all[i].done) {
        *news = take_answer(ctx->arena, response->readings[r], &all[i], &out[i]) || *news;
        *left -= all[i].done ? 1 : 0;
        break;
      }
    }
  }
  return eco_success();
}

static eco_status read_batch(eco_ctx *ctx, const store_hold *holds, size_t count, meter_reading *out) {
  gathered *all = eco_alloc_array(ctx->arena, count, sizeof *all);
  for (size_t i = 0; i < count; i++) {
    all[i] = (gathered){.from_us = holds[i].rule.settled_until_us};
  }
  size_t left = count;
  bool news = true;
  for (int page = 0; left > 0 && news && page < BILLING_METER_PAGES_MAX; page++) {
    ECO_TRY(read_page(ctx, holds, count, all, out, &left, &news));
  }
  return left == 0 ? eco_success()
                   : eco_error(ECO_INTERNAL, "the scheduler's meter does not tell %zu instances whole", left);
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

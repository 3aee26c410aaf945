// Followed events and logs (SSE) and the ledger's export (CSV): answers of many pieces, pulled by the loop at its own
// pace.
//
// Each piece is one page of the owner's list. A client that reads slowly asks for pages slowly, and one that is gone
// asks for none: back-pressure and cancel need no code here.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/error_json.h"
#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "mgmt_csv.h"
#include "mgmt_internal.h"

static const char SSE_TYPE[] = "text/event-stream";
static const char CSV_TYPE[] = "text/csv; charset=utf-8";

static void send_piece(gw_mgmt_call *call, eco_buf *out, bool more, int delay_ms, bool broken) {
  const gw_mgmt_piece piece = {.status = 200,
                               .content_type = call->kind == MGMT_CSV ? CSV_TYPE : SSE_TYPE,
                               .body = (const uint8_t *)out->data,
                               .body_len = out->len,
                               .more = more,
                               .delay_ms = delay_ms,
                               .broken = broken};
  call->stream.head_sent = true;
  mgmt_call_piece(call, &piece);
}

// ---- what is asked ----

// The cursor lies in the call, so the messages may point at it.
static void point_at_cursor(gw_mgmt_call *call) {
  char *cursor = call->stream.cursor;
  if (call->kind == MGMT_EVENTS) {
    ((Ecolink__V1__ListInstanceEventsRequest *)(void *)call->bound.message)->cursor = cursor;
  } else if (call->kind == MGMT_LOGS) {
    ((Ecolink__V1__ReadInstanceLogsRequest *)(void *)call->bound.message)->cursor = cursor;
  } else {
    ((Ecolink__V1__ListTransactionsRequest *)(void *)call->bound.message)->cursor = cursor;
  }
}

static bool set_cursor(gw_mgmt_call *call, const char *cursor) {
  if (cursor == NULL || cursor[0] == '\0') {
    return true;  // nothing newer: go on from where we are
  }
  const int n = snprintf(call->stream.cursor, sizeof call->stream.cursor, "%s", cursor);
  return n > 0 && (size_t)n < sizeof call->stream.cursor;
}

void mgmt_stream_begin(gw_mgmt_call *call) {
  const char *given = "";
  if (call->kind == MGMT_EVENTS) {
    Ecolink__V1__ListInstanceEventsRequest *r = (void *)call->bound.message;
    given = r->cursor;
    r->limit = MGMT_STREAM_PAGE;
  } else if (call->kind == MGMT_LOGS) {
    given = ((Ecolink__V1__ReadInstanceLogsRequest *)(void *)call->bound.message)->cursor;
  } else {
    Ecolink__V1__ListTransactionsRequest *r = (void *)call->bound.message;
    given = r->cursor;
    r->limit = MGMT_STREAM_PAGE;
  }
  // A cursor that does not fit is none of ours: cut, its owner refuses it.
  (void)set_cursor(call, given);
  call->stream.ends_ms = eco_boottime_ms() + MGMT_FOLLOW_MAX_MS;
  point_at_cursor(call);
}

// Looks at the instance itself now and then: a follower that joined after the end finds no event that tells of it.
void mgmt_stream_prepare(gw_mgmt_call *call) {
  mgmt_stream *s = &call->stream;
  call->retried = false;
  if (call->kind != MGMT_EVENTS) {
    return;
  }
  s->asks_status = !s->closing && s->silent_polls % MGMT_STATUS_POLLS == 1;
  call->bound.rpc = s->asks_status ? "scheduler.GetInstance" : call->row->rpc;
}

// ---- server-sent events ----

static bool put_sse(eco_buf *out, const char *event, const char *id, const ProtobufCMessage *data) {
  bool ok = event == NULL || eco_buf_printf(out, "event: %s\n", event);
  ok = ok && (id == NULL || eco_buf_printf(out, "id: %s\n", id)) && eco_buf_puts(out, "data: ");
  return ok && (data == NULL ? eco_buf_puts(out, "{}") : eco_pb_to_json(data, rest_objects, out)) &&
         eco_buf_puts(out, "\n\n");
}

static bool is_terminal(Ecolink__V1__InstanceStatus status) {
  return status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED ||
         status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_FAILED;
}

// Sends what the page held. `news` tells whether it held anything, `more` whether the owner has more at once.
static void send_followed(gw_mgmt_call *call, eco_buf *out, bool news, bool more, bool ended) {
  mgmt_stream *s = &call->stream;
  s->silent_polls = news ? 0 : s->silent_polls + 1;
  if (!ended && eco_boottime_ms() > s->ends_ms) {
    ended = true;
  }
  bool ok = true;
  if (ended) {
    ok = put_sse(out, "end", NULL, NULL);
  } else if (!s->head_sent && out->len == 0) {
    ok = eco_buf_puts(out, ": following\n\n");
  } else if (s->silent_polls > 0 && s->silent_polls % MGMT_KEEP_ALIVE_POLLS == 0) {
    ok = eco_buf_puts(out, ": keep-alive\n\n");
  }
  send_piece(call, out, !ended, more ? 0 : MGMT_POLL_MS, !ok);
}

static bool put_events(gw_mgmt_call *call, const Ecolink__V1__InstanceEventList *page, eco_buf *out) {
  mgmt_stream *s = &call->stream;
  bool ok = true;
  for (size_t i = 0; ok && i < page->n_data; i++) {
    const Ecolink__V1__InstanceEvent *event = page->data[i];
    if (event->id <= s->last_id) {
      continue;  // a page read again while its end was open
    }
    char id[32];
    snprintf(id, sizeof id, "%" PRId64, event->id);
    ok = put_sse(out, NULL, id, &event->base);
    s->last_id = event->id;
    s->closing = s->closing || is_terminal(event->status);
  }
  return ok;
}

static bool reply_events(gw_mgmt_call *call, const uint8_t *reply, size_t len, eco_arena *arena, eco_buf *out) {
  const Ecolink__V1__InstanceEventList *page =
      ecolink__v1__instance_event_list__unpack(eco_arena_pb(arena), len, reply);
  const int64_t before = call->stream.last_id;
  if (page == NULL || !put_events(call, page, out)) {
    return false;
  }
  const bool more = page->page != NULL && page->page->has_more;
  if (page->page != NULL && !set_cursor(call, page->page->next_cursor)) {
    return false;
  }
  const bool news = call->stream.last_id != before;
  send_followed(call, out, news, more && news, call->stream.closing && !more);
  return true;
}

static bool reply_status(gw_mgmt_call *call, const uint8_t *reply, size_t len, eco_arena *arena, eco_buf *out) {
  const Ecolink__V1__Instance *instance = ecolink__v1__instance__unpack(eco_arena_pb(arena), len, reply);
  if (instance == NULL) {
    return false;
  }
  call->stream.closing = is_terminal(instance->status);
  send_followed(call, out, false, call->stream.closing, false);
  return true;
}

static bool reply_logs(gw_mgmt_call *call, const uint8_t *reply, size_t len, eco_arena *arena, eco_buf *out) {
  const Ecolink__V1__InstanceLogs *page = ecolink__v1__instance_logs__unpack(eco_arena_pb(arena), len, reply);
  if (page == NULL || !set_cursor(call, page->next_cursor)) {
    return false;
  }
  for (size_t i = 0; i < page->n_data; i++) {
    // The last line of a page carries the place to go on from, for a client that comes back.
    const char *id = i + 1 == page->n_data ? call->stream.cursor : NULL;
    if (!put_sse(out, NULL, id, &page->data[i]->base)) {
      return false;
    }
  }
  send_followed(call, out, page->n_data > 0, page->n_data > 0, page->ended);
  return true;
}

// ---- CSV ----

static bool reply_csv(gw_mgmt_call *call, const uint8_t *reply, size_t len, eco_arena *arena, eco_buf *out) {
  const Ecolink__V1__TransactionList *page = ecolink__v1__transaction_list__unpack(eco_arena_pb(arena), len, reply);
  if (page == NULL) {
    return false;
  }
  bool ok = call->stream.head_sent || mgmt_csv_header(out);
  for (size_t i = 0; ok && i < page->n_data; i++) {
    ok = mgmt_csv_row(out, page->data[i]);
  }
  const bool more = page->page != NULL && page->page->has_more;
  // A cursor that does not move would export the same page for ever.
  if (!ok || (more && (strcmp(page->page->next_cursor, call->stream.cursor) == 0 ||
                       page->page->next_cursor[0] == '\0' || !set_cursor(call, page->page->next_cursor)))) {
    return false;
  }
  send_piece(call, out, more, 0, false);
  return true;
}

// ---- trouble ----

static void reply_failure(gw_mgmt_call *call, eco_status st, eco_buf *out) {
  mgmt_stream *s = &call->stream;
  if (!s->head_sent) {
    mgmt_call_error(call, st, NULL);
    return;
  }
  s->failures++;
  if (eco_code_is_transient(st.code) && s->failures <= MGMT_STREAM_FAILURES_MAX) {
    if (call->kind != MGMT_CSV) {
      (void)eco_buf_puts(out, ": waiting\n\n");
    }
    send_piece(call, out, true, MGMT_POLL_MS, false);
    return;
  }
  if (call->kind == MGMT_CSV) {
    send_piece(call, out, false, 0, true);
    return;
  }
  const bool ok = eco_buf_puts(out, "event: error\ndata: ") && eco_error_json(out, st, call->context.request_id) &&
                  eco_buf_puts(out, "\n\n");
  send_piece(call, out, false, 0, !ok);
}

void mgmt_stream_reply(gw_mgmt_call *call, eco_status st, const uint8_t *reply, size_t len) {
  eco_arena *arena = eco_arena_new();
  eco_buf out;
  eco_buf_init(&out, MGMT_ANSWER_MAX);
  bool ok = eco_ok(st);
  if (ok) {
    call->stream.failures = 0;
    ok = call->kind == MGMT_CSV     ? reply_csv(call, reply, len, arena, &out)
         : call->kind == MGMT_LOGS  ? reply_logs(call, reply, len, arena, &out)
         : call->stream.asks_status ? reply_status(call, reply, len, arena, &out)
                                    : reply_events(call, reply, len, arena, &out);
    if (!ok) {
      st = eco_error(ECO_INTERNAL, "the answer of %s could not be used", call->bound.rpc);
    }
  }
  if (!ok) {
    eco_buf_reset(&out);
    reply_failure(call, st, &out);
  }
  eco_buf_free(&out);
  eco_arena_free(arena);
}

// A replica's answer on its way to the client: held until the first content, then passed on in the turn it was read in.
//
//   held: | complete events ... | partial event |      until release: everything; afterwards the partial event alone
//         0                held_events
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "config.h"
#include "ecolink/error_json.h"
#include "ecolink/log.h"
#include "upstream.h"

enum { LENGTH_DIGITS_MAX = 18 };

static bool is_json(gw_slice type) {
  static const char JSON[] = "application/json";
  return type.n >= sizeof JSON - 1 && gw_slice_is((gw_slice){type.p, sizeof JSON - 1}, JSON);
}

static bool is_event_stream(gw_slice type) {
  static const char SSE[] = "text/event-stream";
  return type.n >= sizeof SSE - 1 && gw_slice_is((gw_slice){type.p, sizeof SSE - 1}, SSE);
}

static bool server_trouble(int status) {
  return status == 500 || status == 502 || status == 503 || status == 504;
}

int gw_answer_head(gw_req *r, gw_upstream *up) {
  uint64_t now_ns = r->loop->now_ns;
  int status = up->parser.status_code;
  if (gw_head_get(&up->head, GW_H_CONTENT_LENGTH).n > LENGTH_DIGITS_MAX) {
    return HPE_USER;  // nobody's answer, and more than declared_length can hold
  }
  uint64_t since = r->sent_ns && r->request_sent ? r->sent_ns : r->started_ns;
  r->first_byte_us = (now_ns - since) / 1000;
  gw_metrics_observe(&r->loop->metrics->first_byte, now_ns - since);
  if (status == 101 && (!r->websocket || !gw_slice_is(gw_head_get(&up->head, GW_H_UPGRADE), "websocket"))) {
    return HPE_USER;
  }
  if (server_trouble(status)) {
    gw_replica_failed(r->loop, up->replica, r->endpoint_class, GW_FAIL_STATUS,
                      1e3 * (double)gw_cfg.first_byte_timeout_ms);
    if (gw_forward_may_retry(r)) {
      up->retry = true;
      return HPE_USER;
    }
  } else {
    gw_replica_succeeded(r->loop, up->replica, r->endpoint_class, (double)r->first_byte_us);
  }
  gw_slice type = gw_head_get(&up->head, GW_H_CONTENT_TYPE);
  r->status = status;
  r->answer_sse = is_event_stream(type) && r->kind != GW_KIND_PROXY;
  r->answer_json = is_json(type) && status == 200;
  if (r->answer_sse) {
    gw_metrics_add(&r->loop->metrics->streams, 1);
  }
  gw_sse_init(&r->sse);
  if (r->kind == GW_KIND_PROXY && is_event_stream(type)) {
    r->hold_until_ms = gw_loop_now(r->loop);  // verbatim: nothing is waited for
  } else {
    r->hold_until_ms = gw_loop_now(r->loop) + GW_HOLD_MS;
  }
  return 0;
}

// ---- release ----

static int64_t declared_length(const gw_head *h) {
  gw_slice v = gw_head_get(h, GW_H_CONTENT_LENGTH);
  int64_t n = 0;
  for (size_t i = 0; i < v.n; i++) {
    n = n * 10 + (v.p[i] - '0');  // llhttp has judged it
  }
  return v.n ? n : -1;
}

static void send_head(gw_req *r) {
  gw_upstream *up = r->up;
  bool no_body = r->status == 204 || r->status == 304 || r->method == HTTP_HEAD;
  int64_t length = r->answer_sse ? -1 : declared_length(&up->head);
  r->answer_chunked = !no_body && length < 0 && !r->http10;
  if (!r->request_sent || (length < 0 && !no_body && r->http10) || r->loop->draining) {
    r->keep_alive = false;  // an early answer ends the upload; HTTP/1.0 knows an end only by closing
  }
  gw_response_out out = {
      .status = r->status,
      .v1 = r->kind != GW_KIND_PROXY,
      .close = !r->keep_alive,
      .keep_alive_10 = r->http10 && r->keep_alive,
      .chunked = r->answer_chunked,
      .content_length = r->status == 204 ? -1 : length,
      .own = gw_req_own_headers(r, NULL),
  };
  size_t n = gw_head_write_response(&up->head, &out, r->loop->scratch, GW_SCRATCH);
  gw_io_write(&r->client->io, r->loop->scratch, n);
  r->released = true;
  r->hold_until_ms = 0;
  gw_metrics_observe(&r->loop->metrics->first_content, r->loop->now_ns - r->started_ns);
  if (r->request_sent) {
    gw_req_shrink(r);
    gw_block_put(&r->loop->pool, up->head_block);
    up->head_block = NULL;
  }
}

// Sends held[0, upto) and then p[0, n).
static void send_held(gw_req *r, uint64_t upto, const char *p, size_t n) {
  uv_buf_t iov[GW_IOV_MAX];
  size_t bytes = 0;
  unsigned k = gw_chain_iov(&r->held, r->held.start, upto, iov, GW_IOV_MAX - 1, &bytes);
  if (n > 0) {
    iov[k++] = uv_buf_init((char *)p, (unsigned)n);
  }
  gw_req_send_body(r, iov, k);
}

// What is held is at most a few blocks: the tail that stays is copied to a fresh chain.
static void keep_tail(gw_req *r, uint64_t from) {
  gw_chain rest = {0};
  uv_buf_t iov[GW_IOV_MAX];
  size_t bytes = 0;
  unsigned k = gw_chain_iov(&r->held, from, r->held.end, iov, GW_IOV_MAX, &bytes);
  for (unsigned i = 0; i < k; i++) {
    gw_chain_add(&r->loop->pool, &rest, iov[i].base, iov[i].len);
  }
  gw_chain_clear(&r->loop->pool, &r->held);
  r->held = rest;
  r->held_events = 0;
}

void gw_answer_release(gw_req *r) {
  if (r->released || !r->up || !r->up->head_done) {
    return;
  }
  send_head(r);
  uint64_t upto = r->answer_sse ? r->held_events : r->held.end;
  if (upto > 0) {
    send_held(r, upto, NULL, 0);
    keep_tail(r, upto);
  }
}

// ---- body ----

static void note_event(gw_req *r) {
  uint64_t now_ns = r->loop->now_ns;
  if (r->event_ns) {
    gw_metrics_observe(&r->loop->metrics->event_gap, now_ns - r->event_ns);
  }
  r->event_ns = now_ns;
}

static void sse_bytes(gw_req *r, const char *p, size_t n) {
  size_t complete = gw_sse_feed(&r->sse, p, n);
  if (complete > 0) {
    note_event(r);
  }
  if (!r->released && (r->sse.content || r->held.end + n > GW_HOLD_MAX)) {
    gw_answer_release(r);
  }
  if (!r->released) {
    if (complete > 0) {
      r->held_events = r->held.end + complete;
    }
    gw_chain_add(&r->loop->pool, &r->held, p, n);
    return;
  }
  if (complete > 0) {
    send_held(r, r->held.end, p, complete);
    gw_chain_clear(&r->loop->pool, &r->held);
    r->partial_out = false;
  }
  if (complete == n) {
    return;
  }
  if (r->held.end + (n - complete) > GW_HOLD_MAX) {
    send_held(r, r->held.end, p + complete, n - complete);
    gw_chain_clear(&r->loop->pool, &r->held);
    r->partial_out = true;
    return;
  }
  gw_chain_add(&r->loop->pool, &r->held, p + complete, n - complete);
}

void gw_answer_body(gw_req *r, gw_upstream *up, const char *p, size_t n) {
  (void)up;
  if (r->answer_sse) {
    sse_bytes(r, p, n);
    return;
  }
  if (r->answer_json) {
    gw_json_walk_feed(&r->sse.walk, p, n);
  }
  gw_answer_release(r);
  uv_buf_t iov = uv_buf_init((char *)p, (unsigned)n);
  gw_req_send_body(r, &iov, 1);
}

void gw_answer_complete(gw_req *r, gw_upstream *up, bool reusable) {
  if (r->status == 101) {
    gw_forward_failed(r, GW_FAIL_GARBAGE);
    return;
  }
  reusable = reusable && r->request_sent;
  gw_answer_release(r);
  if (gw_chain_held(&r->held) > 0) {
    send_held(r, r->held.end, NULL, 0);
    gw_chain_clear(&r->loop->pool, &r->held);
  }
  gw_upstream_release(up, reusable);
  gw_req_send_end(r);
}

// The stream goes on to its proper end with an error event; anything else ends without it.
void gw_answer_broken(gw_req *r, gw_failure kind) {
  eco_status st = eco_error(
      kind == GW_FAIL_TIMEOUT ? ECO_UPSTREAM_TIMEOUT : ECO_UPSTREAM_ERROR,
      "The replica in region %s was lost while it answered. What was received so far is incomplete.", r->region);
  eco_log_set_context(r->id, NULL);
  eco_log(ECO_LOG_WARN, "answer broken off", ECO_F_I64("instance", r->instance_id), ECO_F_STR("region", r->region),
          ECO_F_STR("kind", gw_failure_word(kind)));
  eco_log_set_context(NULL, NULL);
  gw_metrics_add(&r->loop->metrics->errors[st.code], 1);
  r->early = true;  // counts as an error in the usage records
  if (r->client->mode == GW_CLIENT_TUNNEL) {
    gw_client_drop(r->client);
    return;
  }
  if (!r->answer_sse) {
    gw_client_truncate(r->client);
    return;
  }
  eco_buf *text = &r->loop->text;
  eco_buf_reset(text);
  if (r->partial_out) {
    send_held(r, r->held.end, NULL, 0);  // then the client has what the reader of events has seen
    (void)eco_buf_puts(text, gw_sse_break(&r->sse));
  }
  (void)eco_buf_puts(text, "data: ");
  (void)eco_error_json(text, st, r->id);
  while (text->len > 0 && text->data[text->len - 1] == '\n') {
    text->len--;
  }
  (void)eco_buf_puts(text, "\n\n");
  uv_buf_t iov = uv_buf_init(text->data, (unsigned)text->len);
  gw_req_send_body(r, &iov, 1);
  r->keep_alive = r->keep_alive && r->answer_chunked;
  gw_req_send_end(r);
}

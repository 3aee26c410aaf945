// From the loops to the management API and back: a request goes out whole, its answer comes in pieces, on kit threads,
// and is brought to the loop by a queue and uv_async.
//
// A bridge is shared by its request (loop thread) and the pieces under way; each holds a reference.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "ecolink/error_json.h"

typedef struct gw_bridge {
  gw_loop *loop;
  gw_req *req;  // loop thread only; NULL once released
  gw_mgmt_call *call;
  _Atomic int refs;
  bool begun;    // the head has gone out
  bool waiting;  // the next piece is due at due_ms
  bool follows;  // an event stream: it goes on for as long as its key holds
  uint64_t due_ms;
} gw_bridge;

typedef struct gw_piece {
  struct gw_piece *next;
  gw_bridge *bridge;
  gw_mgmt_piece piece;  // its strings point into what follows
  char content_type[128];
  char allow[64];
  uint8_t body[];
} gw_piece;

static void unref(gw_bridge *b) {
  if (atomic_fetch_sub(&b->refs, 1) == 1) {
    free(b);
  }
}

static void *must(void *p) {
  if (!p) {
    abort();
  }
  return p;
}

static void on_piece(void *arg, const gw_mgmt_piece *piece) {
  gw_bridge *b = arg;
  gw_loop *loop = b->loop;
  gw_piece *p = must(malloc(sizeof *p + piece->body_len));
  p->next = NULL;
  p->bridge = b;
  p->piece = *piece;
  snprintf(p->content_type, sizeof p->content_type, "%s",
           piece->content_type ? piece->content_type : "application/json");
  snprintf(p->allow, sizeof p->allow, "%s", piece->allow ? piece->allow : "");
  if (piece->body_len) {
    memcpy(p->body, piece->body, piece->body_len);
  }
  atomic_fetch_add(&b->refs, 1);
  pthread_mutex_lock(&loop->shared.lock);
  if (loop->shared.pieces_tail) {
    loop->shared.pieces_tail->next = p;
  } else {
    loop->shared.pieces = p;
  }
  loop->shared.pieces_tail = p;
  pthread_mutex_unlock(&loop->shared.lock);
  uv_async_send(&loop->wake);
}

static char *copy_slice(gw_slice s) {
  char *out = must(malloc(s.n + 1));
  memcpy(out, s.p, s.n);
  out[s.n] = 0;
  return out;
}

static uint8_t *flatten(const gw_chain *c) {
  uint8_t *out = must(malloc((size_t)gw_chain_held(c) + 1));
  size_t at = 0;
  for (const gw_block *b = c->head; b; b = b->next) {
    memcpy(out + at, b->data, b->len);
    at += b->len;
  }
  return out;
}

// W3C Trace Context section 3.2: "00-<32 hex>-<16 hex>-<2 hex>". Anything else a client calls so is not passed on.
static bool trace_ok(const char *trace) {
  return strlen(trace) == 55 && strspn(trace, "0123456789abcdef-") == 55;
}

void gw_bridge_start(gw_req *r) {
  gw_bridge *b = must(calloc(1, sizeof *b));
  b->loop = r->loop;
  b->req = r;
  atomic_store(&b->refs, 1);
  r->bridge = b;
  char *path = copy_slice(r->target.path);
  char *query = copy_slice(r->target.query);
  char *type = copy_slice(gw_head_get(&r->head, GW_H_CONTENT_TYPE));
  char *accept = copy_slice(gw_head_get(&r->head, GW_H_ACCEPT));
  unsigned keys = 0;
  (void)gw_head_find(&r->head, GW_H_IDEMPOTENCY_KEY, &keys);
  char *key = copy_slice(gw_head_get(&r->head, GW_H_IDEMPOTENCY_KEY));
  char *trace = copy_slice(gw_head_get(&r->head, GW_H_TRACEPARENT));
  uint8_t *body = flatten(&r->body);
  const gw_cell *cell = r->cell;
  gw_mgmt_request request = {
      .method = llhttp_method_name((llhttp_method_t)r->method),
      .path = path,
      .query = query,
      .body = body,
      .body_len = (size_t)gw_chain_held(&r->body),
      .content_type = type,
      .accept = accept,
      .idempotency_key = key,
      .idempotency_keys = keys,
      .request_id = r->id,
      .trace_id = trace_ok(trace) ? trace : r->id,
      .caller = {.account_id = cell ? cell->account_id : "",
                 .key_id = cell ? cell->key_id : "",
                 .member_id = cell ? cell->member_id : "",
                 .operator_id = cell ? cell->operator_id : "",
                 .role = cell ? (Ecolink__V1__Role)r->role : ECOLINK__V1__ROLE__ROLE_UNSPECIFIED},
  };
  b->call = gw_mgmt_start(r->loop->mgmt, &request, on_piece, b);
  free(path);
  free(query);
  free(type);
  free(accept);
  free(key);
  free(trace);
  free(body);
}

void gw_bridge_release(gw_req *r) {
  gw_bridge *b = r->bridge;
  if (!b) {
    return;
  }
  r->bridge = NULL;
  b->req = NULL;
  gw_mgmt_release(b->call);
  unref(b);
}

static void ask_next(gw_bridge *b) {
  b->waiting = false;
  gw_mgmt_next(b->call);
}

static void deliver(gw_piece *p) {
  gw_bridge *b = p->bridge;
  gw_req *r = b->req;
  const gw_mgmt_piece *m = &p->piece;
  if (!r) {
    return;
  }
  r->allow = p->allow[0] ? p->allow : NULL;
  r->retry_after_s = m->retry_after_s;
  if (!b->begun && !m->more && !m->broken) {
    gw_bridge_release(r);
    gw_req_answer(r, m->status, p->content_type, p->body, m->body_len);
    return;
  }
  if (!b->begun) {
    b->begun = true;
    b->follows = strcmp(p->content_type, "text/event-stream") == 0;
    gw_req_answer_begin(r, m->status, p->content_type);
  }
  uv_buf_t iov = uv_buf_init((char *)p->body, (unsigned)m->body_len);
  gw_req_send_body(r, &iov, 1);
  if (m->broken) {
    gw_bridge_release(r);
    gw_client_truncate(r->client);
  } else if (!m->more) {
    gw_bridge_release(r);
    gw_req_send_end(r);
  } else if (m->delay_ms == 0 && !r->client->io.congested) {
    ask_next(b);
  } else {
    b->waiting = true;
    b->due_ms = gw_loop_now(r->loop) + (uint64_t)m->delay_ms;
  }
}

void gw_bridge_deliver(gw_loop *loop) {
  pthread_mutex_lock(&loop->shared.lock);
  gw_piece *list = loop->shared.pieces;
  loop->shared.pieces = NULL;
  loop->shared.pieces_tail = NULL;
  pthread_mutex_unlock(&loop->shared.lock);
  while (list) {
    gw_piece *next = list->next;
    gw_bridge *b = list->bridge;
    deliver(list);
    free(list);
    unref(b);
    list = next;
  }
}

// The stream ends as every stream does, with its last event and the body's proper end.
static void end_for_key(gw_req *r) {
  eco_buf *text = &r->loop->text;
  eco_buf_reset(text);
  const eco_status why = eco_error(ECO_UNAUTHORIZED, "The API key has been revoked or has expired: the stream ends.");
  const bool ok =
      eco_buf_puts(text, "event: error\ndata: ") && eco_error_json(text, why, r->id) && eco_buf_puts(text, "\n\n");
  gw_bridge_release(r);
  if (ok) {
    uv_buf_t iov = uv_buf_init(text->data, (unsigned)text->len);
    gw_req_send_body(r, &iov, 1);
  }
  gw_req_send_end(r);
}

void gw_bridge_due(gw_req *r, uint64_t now_ms) {
  gw_bridge *b = r->bridge;
  if (b->follows && !gw_req_key_holds(r)) {
    end_for_key(r);
    return;
  }
  if (b->waiting && now_ms >= b->due_ms && !r->client->io.congested) {
    ask_next(b);
  }
}

// One request under way, from its head to the last byte of its answer. It belongs to its client connection; the
// upstream that works for it points to it and is pointed to. Loop thread only; pooled.
#ifndef GATEWAY_REQUEST_H
#define GATEWAY_REQUEST_H

#include "head.h"
#include "loop.h"
#include "model_finder.h"
#include "multipart_finder.h"
#include "ratelimit.h"
#include "sse.h"

typedef enum gw_kind {
  GW_KIND_NONE,
  GW_KIND_JSON,    // /v1, model in a JSON body
  GW_KIND_FORM,    // /v1, model in a multipart body
  GW_KIND_VIDEO,   // GET /v1/video/generations/{id}
  GW_KIND_PROXY,   // /inference-instances/{id}/proxy/...
  GW_KIND_MODELS,  // GET /v1/models
  GW_KIND_MODEL,   // GET /v1/models/{id}
  GW_KIND_MGMT,
} gw_kind;

enum { GW_REQUEST_ID_LEN = 40, GW_MODEL_SHOWN = 128 };

typedef struct gw_req {
  gw_client *client;
  gw_loop *loop;
  gw_upstream *up;
  struct gw_bridge *bridge;  // the management call
  gw_block *head_block;
  gw_request_line line;
  gw_target target;
  gw_framing framing;
  char id[GW_REQUEST_ID_LEN];
  uint8_t method;  // llhttp's
  gw_kind kind;
  uint8_t endpoint_class;
  bool head_done;
  bool body_done;  // the whole request has been parsed
  bool http10;
  bool keep_alive;  // what the client wants; cleared by anything that makes it impossible
  bool websocket;   // asked for, on /proxy
  bool continue_sent;
  uint16_t trailer_bytes;
  // who
  gw_cell *cell;  // NULL: not authenticated
  uint8_t role;
  uint8_t key_hash[32];  // with a cell: to see whether the key still holds
  bool counted;          // in cell->in_flight and the gauges
  gw_limit limit;
  bool limited;  // limit is meaningful
  // early failure: answered once it is known whether the body has come
  bool early;
  bool early_close;
  const char *allow;
  int retry_after_s;
  // body
  gw_chain body;
  uint64_t body_max;
  bool resolved;
  uint64_t edit_start;
  uint64_t edit_end;
  bool edit;
  uint16_t replacement_len;
  // route
  int64_t instance_id;
  bool openai_compatible;
  gw_slice up_path;
  char region[GW_REGION_LEN];
  // attempts
  uint8_t attempts;
  uint8_t n_tried;
  int32_t tried[GW_ATTEMPTS_MAX + 1];
  bool head_sent;     // to the engine, in this attempt
  bool request_sent;  // wholly, in this attempt
  bool chunked_up;
  bool stale_retried;
  bool body_cut;      // bytes of it were dropped: it cannot be sent again
  uint64_t sent;      // of the edited body, in this attempt
  size_t chunk_left;  // of the chunk under way, when sent chunked
  gw_failure last_failure;
  // answer
  int status;
  bool answer_sse;
  bool answer_json;
  bool released;  // head and more have gone to the client
  bool answer_chunked;
  bool partial_out;      // a part of an event has gone out
  bool answered;         // completely
  gw_chain held;         // answer bytes not yet passed on
  uint64_t held_events;  // of them, complete events
  uint64_t hold_until_ms;
  uint64_t event_ns;  // when the last event was complete; 0: none yet
  gw_sse sse;         // sse.walk alone serves JSON answers
  // accounting
  uint64_t started_ns;
  uint64_t sent_ns;
  uint64_t first_byte_us;
  uint64_t bytes_in;
  uint64_t bytes_out;
  // From here on a new request is not zeroed: each is set before it is read.
  gw_head head;
  eco_status error;  // with `early`
  char replacement[GW_SERVED_MAX];
  char prefix[GW_PATH_LEN + 1];
  union {
    gw_model_finder json;
    gw_multipart_finder form;
  } find;
} gw_req;

gw_req *gw_req_new(gw_client *c);
// Accounts, counts down, gives everything back. The upstream must have been let go of.
void gw_req_free(gw_req *r);
void gw_req_count(gw_req *r);  // enters the in-flight counters; left by gw_req_free

// Records an early failure (the first one stays).
void gw_req_fail(gw_req *r, eco_status error);
void gw_req_fail_close(gw_req *r, eco_status error);  // the connection cannot be used any more

// Whether the key that this request came with is still good. Without one: true.
bool gw_req_key_holds(const gw_req *r);

// Body bytes from the parser: kept, or dropped after an early failure.
void gw_req_body(gw_req *r, const char *p, size_t n);

// Our own header lines for an answer; content_type may be NULL. Borrows from r.
gw_own_headers gw_req_own_headers(const gw_req *r, const char *content_type);
// What the parser's memory and the body take is given back as soon as nobody can ask for it again.
void gw_req_shrink(gw_req *r);
void gw_req_body_release(gw_req *r, uint64_t offset);

// ---- answers ---- each queues on the client and ends the request when it is complete
void gw_req_answer(gw_req *r, int status, const char *content_type, const void *body, size_t n);
void gw_req_answer_error(gw_req *r, eco_status error);
// The head of an answer of our own that comes in pieces (gw_req_send_body, gw_req_send_end).
void gw_req_answer_begin(gw_req *r, int status, const char *content_type);
// Sends body bytes in the framing chosen for this answer.
void gw_req_send_body(gw_req *r, const uv_buf_t *iov, unsigned n);
void gw_req_send_end(gw_req *r);  // the body's proper end; the request ends

// ---- judge.c ---- at the end of the head: sets kind and what belongs to it, or an early failure
void gw_judge(gw_req *r, int major, int minor);
// Looks the instance up and takes what is needed from its route. False: an early failure was recorded.
bool gw_judge_route(gw_req *r, const char *model, size_t n);
bool gw_judge_instance(gw_req *r, int64_t instance_id);

// ---- local.c ---- what the gateway answers itself
void gw_local_models(gw_req *r);
void gw_local_model(gw_req *r);

// ---- mgmt_bridge.c ----
void gw_bridge_start(gw_req *r);
void gw_bridge_release(gw_req *r);      // client gone or answer complete
void gw_bridge_deliver(gw_loop *loop);  // wake: pieces that came
void gw_bridge_due(gw_req *r, uint64_t now_ms);

// ---- forward.c ---- the request's progress towards a replica
void gw_forward_progress(gw_req *r);
void gw_forward_push(gw_req *r);
// Whether another replica could be asked, were this attempt to fail now.
bool gw_forward_may_retry(gw_req *r);
// The attempt failed: another one, or the final answer.
void gw_forward_failed(gw_req *r, gw_failure kind);
void gw_forward_cancel(gw_req *r);  // client gone: closes the upstream at once

// ---- answer.c ---- the replica's answer on its way to the client
int gw_answer_head(gw_req *r, gw_upstream *up);  // from the parser; non-zero stops it
void gw_answer_body(gw_req *r, gw_upstream *up, const char *p, size_t n);
void gw_answer_complete(gw_req *r, gw_upstream *up, bool reusable);
void gw_answer_release(gw_req *r);                  // held long enough
void gw_answer_broken(gw_req *r, gw_failure kind);  // the replica was lost after content had gone out

// ---- tunnel.c ----
void gw_tunnel_open(gw_req *r, gw_upstream *up, const char *p, size_t n);
void gw_tunnel_check(gw_req *r);

#endif

// Inside the management API: one call's state, and what mgmt.c, mgmt_call.c and mgmt_stream.c ask of each other.
//
// A call is held by its owner (the loop) and by each RPC under way; the last one frees it. `lock` guards everything
// below it and is held while a piece is delivered, so that none is delivered once gw_mgmt_release has returned; it is
// recursive, because the piece function may release. It is never held while an RPC is sent.
#ifndef GATEWAY_MGMT_INTERNAL_H
#define GATEWAY_MGMT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "ecolink/bus.h"
#include "mgmt.h"
#include "mgmt_bind.h"
#include "rest_table.h"

enum {
  MGMT_RPC_TIMEOUT_MS = 10000,
  MGMT_LAUNCH_TIMEOUT_MS = 15000,     // the launch saga decides within 10 s; its answer must still reach us
  MGMT_RETRY_MIN_MS = 500,            // a second try with less time than this would only double the load
  MGMT_RPC_MAX = 960 * 1024,          // a message of the bus takes 1 MiB: the envelope must fit beside the request
  MGMT_ANSWER_MAX = 8 * 1024 * 1024,  // a reply is at most 512 KiB packed; JSON with every byte escaped stays below
  MGMT_CURSOR_MAX = 512,
  MGMT_STREAM_PAGE = 500,               // rows asked for at a time
  MGMT_POLL_MS = 1000,                  // a follower that is up to date looks again after
  MGMT_KEEP_ALIVE_POLLS = 15,           // silent polls between two comments that keep proxies from closing
  MGMT_STATUS_POLLS = 5,                // silent polls between two looks at whether the instance is terminal
  MGMT_STREAM_FAILURES_MAX = 60,        // transient failures in a row that a follower sits out
  MGMT_FOLLOW_MAX_MS = 60 * 60 * 1000,  // then the client asks again, with a key that is judged again
};

typedef void (*mgmt_rpc_fn)(eco_service *svc, const char *method, const Ecolink__V1__RequestContext *context,
                            const uint8_t *request, size_t request_len, int timeout_ms, eco_rpc_done_fn done,
                            void *arg);

struct gw_mgmt {
  eco_service *svc;
  mgmt_rpc_fn rpc;
  eco_seal_key seal_key;
  uint8_t hash_key[32];
  const char *public_url;  // owned; without a trailing slash
  atomic_int refs;
};

typedef enum mgmt_kind { MGMT_JSON, MGMT_EVENTS, MGMT_LOGS, MGMT_CSV } mgmt_kind;

typedef struct mgmt_stream {
  char cursor[MGMT_CURSOR_MAX];
  bool head_sent;
  bool asks_status;  // the RPC under way is GetInstance, not the page
  bool closing;      // the instance is terminal: the next page without more is the last
  int64_t last_id;   // the newest event sent
  int silent_polls;
  int failures;
  int64_t ends_ms;
} mgmt_stream;

struct gw_mgmt_call {
  gw_mgmt *m;
  atomic_int refs;
  pthread_mutex_t lock;
  gw_mgmt_piece_fn fn;
  void *arg;
  eco_arena *arena;
  bool released;
  bool finished;   // the last piece went out
  bool in_flight;  // an RPC is under way
  mgmt_kind kind;
  const rest_row *row;
  mgmt_bound bound;
  Ecolink__V1__Caller caller;
  Ecolink__V1__RequestContext context;
  int64_t deadline_ms;  // of the RPC under way, its second try included
  bool retried;
  mgmt_stream stream;
};

// mgmt_new with another way to make RPCs, for tests.
eco_status gw_mgmt_new_with(eco_service *svc, mgmt_rpc_fn rpc, gw_mgmt **out);

// ---- mgmt_call.c: sending and answering; the lock is held unless said otherwise ----
gw_mgmt_call *mgmt_call_new(gw_mgmt *m, gw_mgmt_piece_fn fn, void *arg);
void mgmt_call_unref(gw_mgmt_call *call);
// Sends the call's RPC. Without the lock; in_flight was set.
void mgmt_call_send(gw_mgmt_call *call);
void mgmt_call_piece(gw_mgmt_call *call, const gw_mgmt_piece *piece);
void mgmt_call_error(gw_mgmt_call *call, eco_status st, const char *allow);

// ---- mgmt_stream.c: followed lists and exports; the lock is held ----
void mgmt_stream_begin(gw_mgmt_call *call);
void mgmt_stream_prepare(gw_mgmt_call *call);  // before each further page
// The answer to the RPC of the moment becomes a piece.
void mgmt_stream_reply(gw_mgmt_call *call, eco_status st, const uint8_t *reply, size_t len);

#endif

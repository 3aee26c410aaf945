// The management API behind the data plane's door: one table of REST routes, mapped to RPCs by one generic JSON mapper.
//
// The data plane (loops) parses HTTP, authenticates, applies the rate limit and buffers the whole body (<=
// MGMT_BODY_MAX); it then hands a gw_mgmt_request over and gets pieces of an answer back. Nothing here touches a
// socket; nothing there knows a route.
#ifndef GATEWAY_MGMT_H
#define GATEWAY_MGMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/service.h"

enum { MGMT_BODY_MAX = 1024 * 1024 };

typedef struct gw_mgmt gw_mgmt;            // the table's runtime: one per process, any thread
typedef struct gw_mgmt_call gw_mgmt_call;  // one request under way

typedef struct gw_mgmt_request {
  const char *method;  // "GET"
  const char *path;    // without the query, percent-decoding not yet done
  const char *query;   // without '?'; ""
  const uint8_t *body;
  size_t body_len;
  const char *content_type;     // "" when absent
  const char *accept;           // ""
  const char *idempotency_key;  // "" when the client sent none
  unsigned idempotency_keys;    // how many such headers it sent, empty ones too; 0: judge by the key alone
  const char *request_id;
  const char *trace_id;
  eco_caller caller;  // role UNSPECIFIED: no key was sent (public routes)
} gw_mgmt_request;

// One piece of an answer. The first piece carries the head; `more` tells that the loop writes it out, waits `delay_ms`,
// and asks for the next one by gw_mgmt_next (followed logs, CSV exports); the last has more == false. A piece may be
// empty (body_len 0) and still have more to come: nothing is written then (an empty chunk would end the body).
typedef struct gw_mgmt_piece {
  int status;
  const char *content_type;
  const char *allow;  // for 405, else NULL
  int retry_after_s;  // 0: none
  const uint8_t *body;
  size_t body_len;
  bool more;
  int delay_ms;
  bool broken;  // the answer cannot be completed after its head went out: close without the body's proper end
} gw_mgmt_piece;

// Called once per piece, on a kit thread or inside gw_mgmt_start/next itself; borrowed during the call. The loop copies
// it and wakes itself.
typedef void (*gw_mgmt_piece_fn)(void *arg, const gw_mgmt_piece *piece);

// Settings that the management API needs; the rows belong into the gateway's table (kinds as in config.h).
typedef struct gw_mgmt_config {
  const char *public_url;          // for links in answers, without a trailing slash
  const char *seal_public_key;     // hex; the scheduler's
  const char *idempotency_secret;  // keys the hash of request bodies
} gw_mgmt_config;
extern gw_mgmt_config gw_mgmt_conf;
#define GW_MGMT_SETTINGS                                                                                         \
  {.name = "PUBLIC_URL",                                                                                         \
   .kind = ECO_SET_STR,                                                                                          \
   .target = &gw_mgmt_conf.public_url,                                                                           \
   .fallback = "http://127.0.0.1:8080",                                                                          \
   .help = "URL under which clients reach this gateway; links in answers begin with it"},                        \
      {.name = "SEAL_PUBLIC_KEY",                                                                                \
       .kind = ECO_SET_SECRET,                                                                                   \
       .target = &gw_mgmt_conf.seal_public_key,                                                                  \
       .fallback = NULL,                                                                                         \
       .help = "the scheduler's public key (64 hex digits): tokens and secret env are sealed to it on receipt"}, \
  {                                                                                                              \
    .name = "IDEMPOTENCY_SECRET", .kind = ECO_SET_SECRET, .target = &gw_mgmt_conf.idempotency_secret,            \
    .fallback = NULL,                                                                                            \
    .help = "keys the hash by which a repeated Idempotency-Key's body is compared; the same on every gateway"    \
  }
// Every RPC of the table, NULL-terminated: the gateway's eco_service_def.calls.
extern const char *const gw_mgmt_calls[];

eco_status gw_mgmt_new(eco_service *svc, gw_mgmt **out);
void gw_mgmt_free(gw_mgmt *m);
// Whether the path belongs to the management API (for any method); decides before the body is read.
bool gw_mgmt_owns(const gw_mgmt *m, const char *path, size_t path_len);
// Whether this route may be called without a key.
bool gw_mgmt_public(const gw_mgmt *m, const char *method, const char *path, size_t path_len);
// Copies what it needs of the request. The call is freed by gw_mgmt_release, which may come before the last piece
// (client gone) and from inside the piece function; no piece is delivered after it returns. The caller of start, next
// and release holds no lock that its piece function takes. A first piece may come before gw_mgmt_start returns.
gw_mgmt_call *gw_mgmt_start(gw_mgmt *m, const gw_mgmt_request *request, gw_mgmt_piece_fn fn, void *arg);
void gw_mgmt_next(gw_mgmt_call *call);
void gw_mgmt_release(gw_mgmt_call *call);

#endif

// The management API's door: a request is matched, judged and bound, and its RPC sent.
#include "mgmt.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/id.h"
#include "mgmt_internal.h"

enum { SECRET_MIN = 16 };

gw_mgmt_config gw_mgmt_conf;

// ---- the table's runtime ----

static char *copy_without_slash(const char *url) {
  size_t len = strlen(url);
  while (len > 0 && url[len - 1] == '/') {
    len--;
  }
  return strndup(url, len);
}

eco_status gw_mgmt_new_with(eco_service *svc, mgmt_rpc_fn rpc, gw_mgmt **out) {
  eco_seal_key seal_key;
  ECO_TRY(eco_context(eco_seal_key_parse(gw_mgmt_conf.seal_public_key, &seal_key), "ECOLINK_GATEWAY_SEAL_PUBLIC_KEY"));
  if (strlen(gw_mgmt_conf.idempotency_secret) < SECRET_MIN) {
    return eco_error(ECO_INVALID_REQUEST, "ECOLINK_GATEWAY_IDEMPOTENCY_SECRET must have at least %d characters",
                     SECRET_MIN);
  }
  // It goes into answers as it is.
  if (strpbrk(gw_mgmt_conf.public_url, "\"\\ <>") != NULL || strncmp(gw_mgmt_conf.public_url, "http", 4) != 0) {
    return eco_error(ECO_INVALID_REQUEST, "ECOLINK_GATEWAY_PUBLIC_URL must be an http or https URL");
  }
  gw_mgmt *m = calloc(1, sizeof *m);
  if (m == NULL) {
    return eco_error(ECO_OVERLOADED, "not enough memory");
  }
  m->svc = svc;
  m->rpc = rpc;
  m->seal_key = seal_key;
  m->public_url = copy_without_slash(gw_mgmt_conf.public_url);
  eco_sha256(gw_mgmt_conf.idempotency_secret, strlen(gw_mgmt_conf.idempotency_secret), m->hash_key);
  atomic_init(&m->refs, 1);
  *out = m;
  return eco_success();
}

eco_status gw_mgmt_new(eco_service *svc, gw_mgmt **out) {
  return gw_mgmt_new_with(svc, eco_rpc_call_async, out);
}

void gw_mgmt_free(gw_mgmt *m) {
  if (m == NULL || atomic_fetch_sub(&m->refs, 1) != 1) {
    return;
  }
  free((char *)(uintptr_t)m->public_url);
  free(m);
}

bool gw_mgmt_owns(const gw_mgmt *m, const char *path, size_t path_len) {
  (void)m;
  rest_match match;
  rest_find(NULL, path, path_len, &match);
  return match.path_known;
}

bool gw_mgmt_public(const gw_mgmt *m, const char *method, const char *path, size_t path_len) {
  (void)m;
  rest_match match;
  rest_find(method, path, path_len, &match);
  // A wrong method on a public path is answered 405, with or without a key.
  return match.row == NULL ? match.path_public : (match.row->allow & ECO_ALLOW_PUBLIC) != 0;
}

// ---- a request becomes a call ----

static void copy_context(gw_mgmt_call *call, const gw_mgmt_request *request) {
  ecolink__v1__caller__init(&call->caller);
  ecolink__v1__request_context__init(&call->context);
  call->caller.account_id = eco_strdup(call->arena, request->caller.account_id);
  call->caller.key_id = eco_strdup(call->arena, request->caller.key_id);
  call->caller.member_id = eco_strdup(call->arena, request->caller.member_id);
  call->caller.operator_id = eco_strdup(call->arena, request->caller.operator_id);
  call->caller.role = request->caller.role;
  call->context.caller = &call->caller;
  call->context.request_id = eco_strdup(call->arena, request->request_id);
  call->context.trace_id = eco_strdup(call->arena, request->trace_id);
  call->context.http_method = eco_strdup(call->arena, request->method);
  call->context.http_path = eco_strdup(call->arena, request->path);
}

// Without a client's key the gateway makes one, so that its own second try is safe.
static void make_replayable(gw_mgmt_call *call, const gw_mgmt_request *request) {
  enum { HASH_LEN = 32 };
  char fresh[ECO_ID_MAX];
  if (request->idempotency_key[0] == '\0') {
    eco_id_new("gw", fresh);
  }
  call->context.idempotency_key =
      eco_strdup(call->arena, request->idempotency_key[0] == '\0' ? fresh : request->idempotency_key);
  uint8_t *hash = eco_alloc(call->arena, HASH_LEN);
  crypto_generichash(hash, HASH_LEN, request->body, request->body_len, call->m->hash_key, sizeof call->m->hash_key);
  call->context.idempotency_hash = (ProtobufCBinaryData){.len = HASH_LEN, .data = hash};
  if (call->row->extra == REST_ACCEPT) {
    uint8_t digest[32];
    char hex[2 * sizeof digest + 1];
    eco_sha256(request->path, strlen(request->path), digest);
    eco_hex(digest, sizeof digest, hex);
    call->context.http_path = eco_sprintf(call->arena, "%s#%s", call->row->path, hex);
  }
}

static mgmt_kind kind_of(const mgmt_bound *bound, rest_extra extra) {
  if (bound->follow) {
    return extra == REST_FOLLOW_EVENTS ? MGMT_EVENTS : MGMT_LOGS;
  }
  return bound->csv ? MGMT_CSV : MGMT_JSON;
}

static eco_status prepare(gw_mgmt_call *call, const rest_match *match, const gw_mgmt_request *request) {
  if (!match->path_known) {
    return eco_error(ECO_NOT_FOUND, "there is nothing at this path");
  }
  if (match->row == NULL) {
    return eco_error(ECO_METHOD_NOT_ALLOWED, "this path takes %s", match->allow);
  }
  call->row = match->row;
  ECO_TRY(mgmt_allowed(match->row, request->caller.role));
  ECO_TRY(mgmt_idempotency_key_check(request->idempotency_key, request->idempotency_keys));
  ECO_TRY(mgmt_bind(match, request, &call->m->seal_key, call->arena, &call->bound));
  if (protobuf_c_message_get_packed_size(call->bound.message) > MGMT_RPC_MAX) {
    return eco_error(ECO_TOO_LARGE, "the body's values take more than %d bytes", MGMT_RPC_MAX);
  }
  call->kind = kind_of(&call->bound, match->row->extra);
  if (strcmp(request->method, "GET") != 0 && !call->bound.quote) {
    make_replayable(call, request);
  }
  if (call->kind != MGMT_JSON) {
    mgmt_stream_begin(call);
  }
  return eco_success();
}

gw_mgmt_call *gw_mgmt_start(gw_mgmt *m, const gw_mgmt_request *request, gw_mgmt_piece_fn fn, void *arg) {
  gw_mgmt_call *call = mgmt_call_new(m, fn, arg);
  rest_match match;
  rest_find(request->method, request->path, strlen(request->path), &match);
  copy_context(call, request);
  const eco_status st = prepare(call, &match, request);
  if (eco_ok(st)) {
    call->in_flight = true;
    mgmt_call_send(call);
  } else {
    pthread_mutex_lock(&call->lock);
    mgmt_call_error(call, st, st.code == ECO_METHOD_NOT_ALLOWED ? match.allow : NULL);
    pthread_mutex_unlock(&call->lock);
  }
  return call;
}

void gw_mgmt_next(gw_mgmt_call *call) {
  pthread_mutex_lock(&call->lock);
  const bool send = !call->released && !call->finished && !call->in_flight;
  if (send) {
    call->in_flight = true;
    mgmt_stream_prepare(call);
  }
  pthread_mutex_unlock(&call->lock);
  if (send) {
    mgmt_call_send(call);
  }
}

void gw_mgmt_release(gw_mgmt_call *call) {
  if (call == NULL) {
    return;
  }
  pthread_mutex_lock(&call->lock);
  call->released = true;
  pthread_mutex_unlock(&call->lock);
  mgmt_call_unref(call);
}

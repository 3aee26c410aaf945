// One call's life: sending its RPC, trying once more, and turning replies into pieces.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/error_json.h"
#include "ecolink/log.h"
#include "ecolink/v1/registry.pb-c.h"
#include "mgmt_internal.h"

gw_mgmt_call *mgmt_call_new(gw_mgmt *m, gw_mgmt_piece_fn fn, void *arg) {
  gw_mgmt_call *call = calloc(1, sizeof *call);
  if (call == NULL) {
    abort();  // as the arena does: a machine without memory
  }
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&call->lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
  atomic_init(&call->refs, 1);
  atomic_fetch_add(&m->refs, 1);
  call->m = m;
  call->fn = fn;
  call->arg = arg;
  call->arena = eco_arena_new();
  return call;
}

void mgmt_call_unref(gw_mgmt_call *call) {
  if (atomic_fetch_sub(&call->refs, 1) != 1) {
    return;
  }
  pthread_mutex_destroy(&call->lock);
  eco_arena_free(call->arena);
  gw_mgmt_free(call->m);
  free(call);
}

void mgmt_call_piece(gw_mgmt_call *call, const gw_mgmt_piece *piece) {
  call->finished = !piece->more;
  if (!call->released) {
    call->fn(call->arg, piece);
  }
}

static int retry_after_s(eco_code code) {
  switch (code) {
    case ECO_CONTROL_PLANE_UNAVAILABLE:
      return 2;
    case ECO_OVERLOADED:
    case ECO_IN_PROGRESS:
      return 1;
    default:
      return 0;
  }
}

static void log_error(const gw_mgmt_call *call, eco_status st) {
  const char *rpc = call->bound.rpc == NULL ? "" : call->bound.rpc;
  int status = eco_code_http(st.code);
  eco_log_set_context(call->context.request_id, NULL);
  if (status >= 500) {
    eco_log(st.code == ECO_INTERNAL ? ECO_LOG_ERROR : ECO_LOG_WARN, "management call failed",
            ECO_F_I64("status", status), ECO_F_STR("rpc", rpc), ECO_F_STATUS(st));
  } else {
    eco_log(ECO_LOG_INFO, "management call refused", ECO_F_I64("status", status), ECO_F_STR("rpc", rpc),
            ECO_F_STATUS(st));
  }
  eco_log_set_context(NULL, NULL);
}

void mgmt_call_error(gw_mgmt_call *call, eco_status st, const char *allow) {
  log_error(call, st);
  eco_buf body;
  eco_buf_init(&body, ECO_ERROR_JSON_MAX);
  if (!eco_error_json(&body, st, call->context.request_id)) {
    eco_buf_reset(&body);
  }
  const gw_mgmt_piece piece = {.status = eco_code_http(st.code),
                               .content_type = "application/json",
                               .allow = allow,
                               .retry_after_s = retry_after_s(st.code),
                               .body = (const uint8_t *)body.data,
                               .body_len = body.len};
  mgmt_call_piece(call, &piece);
  eco_buf_free(&body);
}

// ---- answers of one piece ----

// The link that an invited person opens. Only the answer that shows the token has it.
static bool add_accept_link(const gw_mgmt_call *call, const ProtobufCMessage *reply, eco_buf *out) {
  const Ecolink__V1__Invite *invite = (const Ecolink__V1__Invite *)(const void *)reply;
  if (invite->token == NULL || invite->token->value[0] == '\0' || out->len == 0) {
    return true;
  }
  out->len--;  // the object's closing brace
  return eco_buf_printf(out, ",\"accept_url\":\"%s/invites/%s/accept\"}", call->m->public_url, invite->token->value);
}

static eco_status write_answer(gw_mgmt_call *call, const uint8_t *reply, size_t len, eco_arena *arena, eco_buf *out) {
  ProtobufCMessage *message = protobuf_c_message_unpack(call->bound.reply, eco_arena_pb(arena), len, reply);
  if (message == NULL) {
    return eco_error(ECO_INTERNAL, "the answer of %s could not be read", call->bound.rpc);
  }
  bool ok = eco_pb_to_json(message, rest_objects, out);
  if (call->row->extra == REST_INVITE) {
    ok = ok && add_accept_link(call, message, out);
  }
  return ok ? eco_success() : eco_error(ECO_INTERNAL, "the answer of %s is too large", call->bound.rpc);
}

static void answer(gw_mgmt_call *call, eco_status st, const uint8_t *reply, size_t len) {
  eco_arena *arena = eco_arena_new();
  eco_buf body;
  eco_buf_init(&body, MGMT_ANSWER_MAX);
  if (eco_ok(st)) {
    st = write_answer(call, reply, len, arena, &body);
  }
  if (eco_ok(st)) {
    const gw_mgmt_piece piece = {.status = call->bound.status,
                                 .content_type = "application/json",
                                 .body = (const uint8_t *)body.data,
                                 .body_len = body.len};
    mgmt_call_piece(call, &piece);
  } else {
    mgmt_call_error(call, st, NULL);
  }
  eco_buf_free(&body);
  eco_arena_free(arena);
}

// ---- the RPC ----

// The same request with the same idempotency key may be sent again: whatever the first did, it is done once.
static bool try_again(gw_mgmt_call *call, eco_status st) {
  if (st.code != ECO_CONTROL_PLANE_UNAVAILABLE || call->retried ||
      eco_boottime_ms() + MGMT_RETRY_MIN_MS > call->deadline_ms) {
    return false;
  }
  call->retried = true;
  return true;
}

static void on_reply(void *arg, eco_status st, const uint8_t *reply, size_t len) {
  gw_mgmt_call *call = arg;
  bool again = false;
  ECO_CRASH_POINT("gateway.management.answered");
  pthread_mutex_lock(&call->lock);
  if (!call->released) {
    again = !eco_ok(st) && try_again(call, st);
    if (!again) {
      call->in_flight = false;
      if (call->kind == MGMT_JSON) {
        answer(call, st, reply, len);
      } else {
        mgmt_stream_reply(call, st, reply, len);
      }
    }
  }
  pthread_mutex_unlock(&call->lock);
  if (again) {
    mgmt_call_send(call);
  }
  mgmt_call_unref(call);
}

void mgmt_call_send(gw_mgmt_call *call) {
  const int64_t now_ms = eco_boottime_ms();
  if (!call->retried) {
    call->deadline_ms = now_ms + (call->row->extra == REST_LAUNCH ? MGMT_LAUNCH_TIMEOUT_MS : MGMT_RPC_TIMEOUT_MS);
  }
  eco_arena *arena = eco_arena_new();
  const size_t len = protobuf_c_message_get_packed_size(call->bound.message);
  uint8_t *packed = eco_alloc(arena, len + 1);
  protobuf_c_message_pack(call->bound.message, packed);
  atomic_fetch_add(&call->refs, 1);
  call->m->rpc(call->m->svc, call->bound.rpc, &call->context, packed, len, (int)(call->deadline_ms - now_ms), on_reply,
               call);
  eco_arena_free(arena);
}

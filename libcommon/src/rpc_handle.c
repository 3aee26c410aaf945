// One request, from bytes to bytes.
#include "rpc_handle.h"

#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"

static const double LATENCY_BOUNDS[] = {0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 0};

const eco_rpc_def kit_rpcs[] = {
    {"Snapshot", &ecolink__v1__snapshot_request__descriptor, &ecolink__v1__snapshot_page__descriptor, ECO_RPC_READ,
     ECO_ALLOW_SERVICE, kit_rpc_snapshot},
    {"ReplayDeadLetters", &ecolink__v1__replay_dead_letters_request__descriptor,
     &ecolink__v1__replay_dead_letters_response__descriptor, ECO_RPC_MANUAL, ECO_ALLOW_SERVICE | ECO_ALLOW_OPERATOR,
     kit_rpc_replay_dead_letters},
    {.method = NULL},
};

static const eco_rpc_def *find_in(const eco_rpc_def *table, const char *method) {
  for (const eco_rpc_def *r = table; r != NULL && r->method != NULL; r++) {
    if (strcmp(r->method, method) == 0) {
      return r;
    }
  }
  return NULL;
}

bool rpc_is_saga(const eco_service_def *def, const char *subject) {
  const char *dot = strrchr(subject, '.');
  const char *method = dot != NULL ? dot + 1 : subject;
  const eco_rpc_def *row = find_in(def->rpcs, method);
  row = row != NULL ? row : find_in(kit_rpcs, method);
  return row != NULL && row->mode == ECO_RPC_MANUAL;
}

static uint8_t *pack_reply(eco_arena *arena, eco_status st, const uint8_t *body, size_t body_len, size_t *out_len) {
  Ecolink__V1__Status status = ECOLINK__V1__STATUS__INIT;
  Ecolink__V1__RpcReply reply = ECOLINK__V1__RPC_REPLY__INIT;
  reply.status = &status;
  if (eco_ok(st) && body_len > KIT_REPLY_MAX) {
    st = eco_error(ECO_INTERNAL, "the answer has %zu bytes, more than the %d that fit: ask for a smaller page",
                   body_len, KIT_REPLY_MAX);
  }
  if (eco_ok(st)) {
    reply.body.data = eco_alloc(arena, body_len + 1);
    memcpy(reply.body.data, body_len > 0 ? body : (const uint8_t *)"", body_len);
    reply.body.len = body_len;
  } else {
    status.code = eco_strdup(arena, eco_code_word(st.code));
    status.message = eco_strdup(arena, st.message);
    status.param = eco_strdup(arena, st.param);
  }
  *out_len = ecolink__v1__rpc_reply__get_packed_size(&reply);
  uint8_t *packed = eco_alloc(arena, *out_len + 1);
  ecolink__v1__rpc_reply__pack(&reply, packed);
  return packed;
}

uint8_t *rpc_pack_failure(eco_arena *arena, eco_status st, size_t *out_len) {
  return pack_reply(arena, st, NULL, 0, out_len);
}

static unsigned allow_bit(Ecolink__V1__Role role) {
  const unsigned bit = eco_allow_bit(role);
  return bit != 0 ? bit : ECO_ALLOW_SERVICE | ECO_ALLOW_PUBLIC;
}

static eco_status check_right(const eco_rpc_def *def, const eco_caller *caller) {
  unsigned bit = allow_bit(caller->role);
  // Statements compare the account: without one a tenant would be nobody's, or everybody's, neighbour.
  if ((bit & (ECO_ALLOW_TEAM | ECO_ALLOW_INFERENCE) && caller->account_id[0] == '\0') ||
      (bit & ECO_ALLOW_OPERATOR && caller->operator_id[0] == '\0')) {
    return eco_error(ECO_UNAUTHORIZED, "the caller's role comes without %s",
                     bit & ECO_ALLOW_OPERATOR ? "an operator" : "an account");
  }
  if ((def->allow & bit) != 0) {
    return eco_success();
  }
  if (bit & ECO_ALLOW_PUBLIC) {
    return eco_error(ECO_UNAUTHORIZED, "this call needs an API key");
  }
  return eco_error(ECO_FORBIDDEN, "this key's role may not do that");
}

// Fills the context from the envelope. Strings are the arena's.
static eco_status read_context(eco_ctx *ctx, const Ecolink__V1__RequestContext *in) {
  if (in == NULL) {
    return eco_success();
  }
  ctx->request_id = in->request_id;
  ctx->trace_id = in->trace_id;
  eco_log_set_context(in->request_id, in->trace_id);
  if (in->caller != NULL) {
    ctx->caller = (eco_caller){.account_id = in->caller->account_id,
                               .key_id = in->caller->key_id,
                               .member_id = in->caller->member_id,
                               .operator_id = in->caller->operator_id,
                               .role = in->caller->role};
  }
  if (in->deadline_us > 0) {
    int64_t left_ms = (in->deadline_us - eco_wall_us()) / 1000;
    if (left_ms <= 0) {
      return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "the request's deadline passed before it was started");
    }
    ctx->deadline_ms = eco_boottime_ms() + left_ms;
  }
  if (in->idempotency_key[0] != '\0') {
    const char *who = ctx->caller.account_id[0] != '\0' ? ctx->caller.account_id : ctx->caller.operator_id;
    ctx->idem_scope = eco_sprintf(ctx->arena, "%s|%s|%s|%s", who, in->http_method, in->http_path, in->idempotency_key);
    ctx->idem_hash = in->idempotency_hash.data;
    ctx->idem_hash_len = in->idempotency_hash.len;
  }
  return eco_success();
}

// ---- the three modes. `body` gets the packed reply. ----

typedef struct packed_body {
  uint8_t *data;
  size_t len;
} packed_body;

static void pack_body(eco_arena *arena, const ProtobufCMessage *reply, packed_body *body) {
  body->len = protobuf_c_message_get_packed_size(reply);
  body->data = eco_alloc(arena, body->len + 1);
  protobuf_c_message_pack(reply, body->data);
}

static eco_status run_read(eco_ctx *ctx, const eco_rpc_def *def, const void *request, ProtobufCMessage *reply) {
  ECO_TRY(eco_tx_begin(ctx->db, &ctx->tx));
  eco_status st =
      eco_tx_exec(ctx->tx, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, ECO_NO_PARAMS);
  if (eco_ok(st)) {
    st = def->fn(ctx, request, reply);
  }
  return st;  // the reply may point into rows: the caller packs it, then rolls back
}

// A final failure undoes the handler's work but keeps the answer for replay; a transient one undoes everything.
static eco_status finish_write(eco_ctx *ctx, eco_status outcome, const ProtobufCMessage *reply) {
  if (!eco_ok(outcome)) {
    if (ctx->idem_scope[0] == '\0' || eco_code_is_transient(outcome.code) || outcome.code == ECO_INTERNAL) {
      eco_tx_rollback(ctx->tx);
      return outcome;
    }
    eco_status undone = eco_tx_exec(ctx->tx, "ROLLBACK TO SAVEPOINT eco_handler", NULL, ECO_NO_PARAMS);
    if (!eco_ok(undone)) {
      eco_tx_rollback(ctx->tx);
      return outcome;
    }
  }
  eco_status st = eco_idem_finish(ctx->tx, ctx->idem_scope, outcome, reply);
  if (!eco_ok(st)) {
    eco_tx_rollback(ctx->tx);
    return eco_ok(outcome) ? st : outcome;
  }
  st = eco_tx_commit(ctx->tx);
  return eco_ok(outcome) ? st : outcome;
}

static eco_status run_write(eco_ctx *ctx, const eco_rpc_def *def, const void *request, ProtobufCMessage *reply,
                            packed_body *body) {
  kit_idem_found found = KIT_IDEM_NEW;
  kit_idem_answer answer = {.reply = NULL};
  ECO_TRY(eco_tx_begin(ctx->db, &ctx->tx));
  eco_status st = eco_success();
  if (ctx->idem_scope[0] != '\0') {
    st = kit_idem_claim(ctx, ctx->tx, &found, &answer);
    if (eco_ok(st) && found == KIT_IDEM_NEW) {
      st = eco_tx_exec(ctx->tx, "SAVEPOINT eco_handler", NULL, ECO_NO_PARAMS);
    }
  }
  if (!eco_ok(st) || found == KIT_IDEM_REPLAY) {
    eco_tx_rollback(ctx->tx);
    *body = (packed_body){.data = answer.reply, .len = answer.reply_len};
    return eco_ok(st) ? answer.status : st;
  }
  st = def->fn(ctx, request, reply);
  if (eco_ok(st)) {
    pack_body(ctx->arena, reply, body);
  }
  return finish_write(ctx, st, reply);
}

static bool time_left(const eco_ctx *ctx) {
  return ctx->deadline_ms > 0 && eco_boottime_ms() < ctx->deadline_ms;
}

// A twin may pass the look before the first call's intent is committed, and then finds the key taken: it has done
// nothing yet, so it waits for the first one's answer; should that one have left none, it runs itself.
static eco_status run_manual(eco_ctx *ctx, const eco_rpc_def *def, const void *request, ProtobufCMessage *reply,
                             packed_body *body) {
  eco_status st;
  do {
    if (ctx->idem_scope[0] != '\0') {
      kit_idem_found found;
      kit_idem_answer answer = {.reply = NULL};
      ECO_TRY(kit_idem_wait(ctx, &found, &answer));
      if (found == KIT_IDEM_REPLAY) {
        *body = (packed_body){.data = answer.reply, .len = answer.reply_len};
        return answer.status;
      }
    }
    ctx->idem_taken = false;
    st = def->fn(ctx, request, reply);
  } while (ctx->idem_taken && st.code == ECO_IN_PROGRESS && time_left(ctx));
  if (eco_ok(st)) {
    pack_body(ctx->arena, reply, body);
  }
  return st;
}

static eco_status run_mode(eco_ctx *ctx, const eco_rpc_def *def, const void *request, ProtobufCMessage *reply,
                           packed_body *body) {
  eco_status st;
  switch (def->mode) {
    case ECO_RPC_READ:
      st = run_read(ctx, def, request, reply);
      if (eco_ok(st)) {
        pack_body(ctx->arena, reply, body);
      }
      eco_tx_rollback(ctx->tx);
      return st;
    case ECO_RPC_WRITE:
      return run_write(ctx, def, request, reply, body);
    default:
      return run_manual(ctx, def, request, reply, body);
  }
}

static void account(const char *method, eco_status st, int64_t started_ms) {
  char labels[KIT_NAME_MAX];
  snprintf(labels, sizeof labels, "method=\"%s\",code=\"%s\"", method, eco_ok(st) ? "ok" : eco_code_word(st.code));
  eco_metric_add(eco_counter("ecolink_rpc_requests_total", "RPC requests handled", labels), 1);
  snprintf(labels, sizeof labels, "method=\"%s\"", method);
  eco_metric_observe(eco_histogram("ecolink_rpc_seconds", "Time to handle a request", labels, LATENCY_BOUNDS),
                     (double)(eco_boottime_ms() - started_ms) / 1000.0);
  if (st.code == ECO_INTERNAL) {
    eco_log(ECO_LOG_ERROR, "request failed", ECO_F_STR("method", method), ECO_F_STATUS(st));
  } else if (!eco_ok(st)) {
    eco_log(ECO_LOG_INFO, "request refused", ECO_F_STR("method", method), ECO_F_STATUS(st));
  }
}

// What leaves the house. Services tell each other everything; a customer or operator has no use for the inside of a
// failure (hosts, roles, statements), which the log has under the same request id.
static eco_status told(const eco_ctx *ctx, const eco_rpc_def *def, eco_status st) {
  bool between_services = allow_bit(ctx->caller.role) == allow_bit(ECOLINK__V1__ROLE__ROLE_UNSPECIFIED) &&
                          (def->allow & ECO_ALLOW_PUBLIC) == 0;
  if (between_services) {
    return st;
  }
  if (st.code == ECO_INTERNAL) {
    return eco_error(ECO_INTERNAL, "internal error: it is in the log under this request's id");
  }
  if (st.code == ECO_CONTROL_PLANE_UNAVAILABLE && strstr(st.message, "database") != NULL) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "%s cannot reach its storage: try again shortly",
                     ctx->service->def->name);
  }
  return st;
}

static eco_status dispatch(eco_ctx *ctx, const eco_rpc_def *def, const Ecolink__V1__RpcRequest *envelope,
                           packed_body *body) {
  ECO_TRY(read_context(ctx, envelope->context));
  ECO_TRY(check_right(def, &ctx->caller));
  void *request =
      protobuf_c_message_unpack(def->request, eco_arena_pb(ctx->arena), envelope->body.len, envelope->body.data);
  if (request == NULL) {
    return eco_error(ECO_INVALID_REQUEST, "the request message cannot be read as %s", def->request->name);
  }
  ProtobufCMessage *reply = eco_alloc(ctx->arena, def->reply->sizeof_message);
  protobuf_c_message_init(def->reply, reply);
  return run_mode(ctx, def, request, reply, body);
}

uint8_t *rpc_handle(eco_service *svc, eco_arena *arena, const char *subject, const uint8_t *data, size_t len,
                    size_t *out_len) {
  const char *method = strrchr(subject, '.');
  method = method != NULL ? method + 1 : subject;
  const eco_rpc_def *def = find_in(svc->def->rpcs, method);
  if (def == NULL) {
    def = find_in(kit_rpcs, method);
  }
  if (def == NULL) {
    return rpc_pack_failure(arena, eco_error(ECO_NOT_FOUND, "%s has no method %s", svc->def->name, method), out_len);
  }
  Ecolink__V1__RpcRequest *envelope = ecolink__v1__rpc_request__unpack(eco_arena_pb(arena), len, data);
  if (envelope == NULL) {
    return rpc_pack_failure(arena, eco_error(ECO_INVALID_REQUEST, "the request envelope cannot be read"), out_len);
  }
  int64_t started_ms = eco_boottime_ms();
  eco_ctx ctx;
  packed_body body = {.data = NULL};
  kit_ctx_init(&ctx, svc, arena);
  eco_status st = dispatch(&ctx, def, envelope, &body);
  account(method, st, started_ms);
  return pack_reply(arena, told(&ctx, def, st), body.data, body.len, out_len);
}

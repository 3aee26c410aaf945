// A management API whose RPCs are answered by the test: what was asked is kept, what is to be answered is queued.
#ifndef TEST_MGMT_FIXTURE_H
#define TEST_MGMT_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "ecolink/json_pb.h"
#include "mgmt_internal.h"

enum { FIXTURE_MAX = 64, FIXTURE_BODY_MAX = 4 * 1024 * 1024 };

typedef struct fixture_answer {
  eco_status st;
  uint8_t *packed;
  size_t len;
} fixture_answer;

typedef struct fixture {
  gw_mgmt *m;
  eco_seal_key public_key, secret_key;
  // asked
  int asked;
  char methods[FIXTURE_MAX][64];
  uint8_t *requests[FIXTURE_MAX];
  size_t request_lens[FIXTURE_MAX];
  char idempotency_key[FIXTURE_MAX][300];
  uint8_t idempotency_hash[FIXTURE_MAX][64];
  size_t idempotency_hash_len[FIXTURE_MAX];
  char http_path[FIXTURE_MAX][512];
  int timeouts[FIXTURE_MAX];
  // to be answered
  int queued, answered;
  fixture_answer answers[FIXTURE_MAX];
  bool hold;  // keep the call under way until fixture_deliver
  eco_rpc_done_fn held_done;
  void *held_arg;
  // pieces received
  int pieces;
  int status;
  char content_type[64];
  char allow[64];
  int retry_after_s;
  eco_buf body;
  size_t last_len;  // of the last piece
  bool more, broken;
  int delay_ms;
} fixture;

static fixture fx;

static void fixture_answer_now(eco_rpc_done_fn done, void *arg) {
  assert_true(fx.answered < fx.queued);
  const fixture_answer *a = &fx.answers[fx.answered++];
  done(arg, a->st, a->packed, a->len);
}

static void fixture_rpc(eco_service *svc, const char *method, const Ecolink__V1__RequestContext *context,
                        const uint8_t *request, size_t request_len, int timeout_ms, eco_rpc_done_fn done, void *arg) {
  (void)svc;
  assert_true(fx.asked < FIXTURE_MAX);
  const int n = fx.asked++;
  snprintf(fx.methods[n], sizeof fx.methods[n], "%s", method);
  fx.requests[n] = malloc(request_len + 1);
  memcpy(fx.requests[n], request, request_len);
  fx.request_lens[n] = request_len;
  snprintf(fx.idempotency_key[n], sizeof fx.idempotency_key[n], "%s", context->idempotency_key);
  fx.idempotency_hash_len[n] = context->idempotency_hash.len;
  assert_true(context->idempotency_hash.len <= sizeof fx.idempotency_hash[n]);
  if (context->idempotency_hash.len > 0) {
    memcpy(fx.idempotency_hash[n], context->idempotency_hash.data, context->idempotency_hash.len);
  }
  snprintf(fx.http_path[n], sizeof fx.http_path[n], "%s", context->http_path);
  fx.timeouts[n] = timeout_ms;
  if (fx.hold) {
    fx.held_done = done;
    fx.held_arg = arg;
    return;
  }
  fixture_answer_now(done, arg);
}

static inline void fixture_deliver(void) {
  fixture_answer_now(fx.held_done, fx.held_arg);
}

static void fixture_will_answer(const ProtobufCMessage *message) {
  fixture_answer *a = &fx.answers[fx.queued++];
  a->st = eco_success();
  a->len = protobuf_c_message_get_packed_size(message);
  a->packed = malloc(a->len + 1);
  protobuf_c_message_pack(message, a->packed);
}

static void fixture_will_fail(eco_code code) {
  fx.answers[fx.queued++].st = eco_error(code, "as the test wants");
}

static void fixture_piece(void *arg, const gw_mgmt_piece *piece) {
  (void)arg;
  fx.pieces++;
  fx.status = piece->status;
  snprintf(fx.content_type, sizeof fx.content_type, "%s", piece->content_type);
  snprintf(fx.allow, sizeof fx.allow, "%s", piece->allow == NULL ? "" : piece->allow);
  fx.retry_after_s = piece->retry_after_s;
  fx.more = piece->more;
  fx.broken = piece->broken;
  fx.delay_ms = piece->delay_ms;
  fx.last_len = piece->body_len;
  assert_true(eco_buf_append(&fx.body, piece->body_len == 0 ? (const uint8_t *)"" : piece->body, piece->body_len));
}

static inline const char *fixture_body(void) {
  return fx.body.data == NULL ? "" : fx.body.data;
}

static int fixture_setup(void **state) {
  (void)state;
  static char hex[2 * ECO_SEAL_KEY_LEN + 1];
  memset(&fx, 0, sizeof fx);
  eco_buf_init(&fx.body, FIXTURE_BODY_MAX);
  eco_seal_keypair(&fx.public_key, &fx.secret_key);
  for (size_t i = 0; i < ECO_SEAL_KEY_LEN; i++) {
    snprintf(hex + 2 * i, 3, "%02x", fx.public_key.bytes[i]);
  }
  gw_mgmt_conf = (gw_mgmt_config){.public_url = "https://api.example.test/",
                                  .seal_public_key = hex,
                                  .idempotency_secret = "a secret of the test's own"};
  assert_true(eco_ok(gw_mgmt_new_with(NULL, fixture_rpc, &fx.m)));
  return 0;
}

static int fixture_teardown(void **state) {
  (void)state;
  for (int i = 0; i < fx.asked; i++) {
    free(fx.requests[i]);
  }
  for (int i = 0; i < fx.queued; i++) {
    free(fx.answers[i].packed);
  }
  eco_buf_free(&fx.body);
  gw_mgmt_free(fx.m);
  return 0;
}

static gw_mgmt_request fixture_request(const char *method, const char *path, const char *query, const char *body) {
  return (gw_mgmt_request){.method = method,
                           .path = path,
                           .query = query,
                           .body = (const uint8_t *)body,
                           .body_len = strlen(body),
                           .content_type = body[0] == '\0' ? "" : "application/json",
                           .accept = "*/*",
                           .idempotency_key = "",
                           .request_id = "req_1",
                           .trace_id = "trace_1",
                           .caller = {.account_id = "acc_1",
                                      .key_id = "key_1",
                                      .member_id = "mem_1",
                                      .operator_id = "",
                                      .role = ECOLINK__V1__ROLE__ROLE_OWNER}};
}

static gw_mgmt_call *fixture_start(gw_mgmt_request request) {
  return gw_mgmt_start(fx.m, &request, fixture_piece, NULL);
}

#endif

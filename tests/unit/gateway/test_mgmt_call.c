// Requests to the management API, from what the client sent to what it gets, with the RPCs answered by the test.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
// clang-format on

#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "mgmt_fixture.h"

static void answer_model(void) {
  Ecolink__V1__Model model = ECOLINK__V1__MODEL__INIT;
  model.id = (char *)"mdl_1";
  model.has_hf_token = 1;
  fixture_will_answer(&model.base);
}

static void answer_instance(void) {
  Ecolink__V1__Instance instance = ECOLINK__V1__INSTANCE__INIT;
  instance.id = 142;
  instance.model = (char *)"my-llama:142";
  fixture_will_answer(&instance.base);
}

static void test_registering_a_model_seals_the_token_and_answers_201(void **state) {
  (void)state;
  answer_model();
  gw_mgmt_call *call = fixture_start(fixture_request(
      "POST", "/models", "", "{\"name\":\"my-llama\",\"source\":\"huggingface\",\"hf_token\":\"hf_hush\"}"));
  assert_int_equal(fx.status, 201);
  assert_string_equal(fx.methods[0], "registry.CreateModel");
  assert_non_null(strstr(fixture_body(), "\"object\":\"model_registration\""));
  assert_non_null(strstr(fixture_body(), "\"has_hf_token\":true"));
  assert_null(memmem(fx.requests[0], fx.request_lens[0], "hf_hush", 7));
  eco_arena *arena = eco_arena_new();
  const Ecolink__V1__CreateModelRequest *sent =
      ecolink__v1__create_model_request__unpack(eco_arena_pb(arena), fx.request_lens[0], fx.requests[0]);
  char *plain = NULL;
  size_t len = 0;
  assert_true(eco_ok(eco_unseal(&fx.public_key, &fx.secret_key, sent->hf_token->box.data, sent->hf_token->box.len,
                                arena, &plain, &len)));
  assert_string_equal(plain, "hf_hush");
  eco_arena_free(arena);
  gw_mgmt_release(call);
}

typedef struct refused {
  const char *method, *path, *query, *body;
  int status;
  const char *code, *param;
} refused;

static void test_bad_requests_are_refused_before_any_rpc(void **state) {
  (void)state;
  static const refused CASES[] = {
      {"GET", "/nowhere", "", "", 404, "not_found", NULL},
      {"PATCH", "/models", "", "", 405, "method_not_allowed", NULL},
      {"POST", "/models", "", "", 400, "invalid_json", NULL},
      {"POST", "/models", "", "{", 400, "invalid_json", NULL},
      {"POST", "/models", "", "[]", 422, "invalid_request", NULL},
      {"POST", "/models", "", "{\"nmae\":1}", 422, "invalid_request", "nmae"},
      {"POST", "/models", "dry_run=true", "{}", 422, "invalid_request", "dry_run"},
      {"POST", "/models", "name=x", "{}", 422, "invalid_request", "name"},
      {"GET", "/models", "limit=ten", "", 422, "invalid_request", "limit"},
      {"GET", "/models", "limit=0", "", 422, "invalid_request", "limit"},
      {"GET", "/models", "limit=1&limit=2", "", 422, "invalid_request", "limit"},
      {"GET", "/models", "limt=1", "", 422, "invalid_request", "limt"},
      {"GET", "/models", "limit=%zz", "", 422, "invalid_request", NULL},
      {"GET", "/models", "cursor=%ff", "", 422, "invalid_request", "cursor"},
      {"GET", "/models", "cursor=%00", "", 422, "invalid_request", "cursor"},
      {"GET", "/models", "cur%00sor=x", "", 422, "invalid_request", NULL},
      {"GET", "/models", "", "{\"a\":1}", 422, "invalid_request", NULL},
      {"GET", "/models/%zz", "", "", 422, "invalid_request", "id"},
      {"GET", "/models/m", "id=n", "", 422, "invalid_request", "id"},
      {"GET", "/inference-instances/abc", "", "", 422, "invalid_request", "id"},
      {"GET", "/inference-instances/99999999999999999999", "", "", 422, "invalid_request", "id"},
      {"GET", "/inference-instances", "status=asleep", "", 422, "invalid_request", "status"},
      {"POST", "/inference-instances", "dry_run=maybe", "{}", 422, "invalid_request", "dry_run"},
      {"GET", "/inference-instances/1/logs", "follow=yes", "", 422, "invalid_request", "follow"},
      {"GET", "/inference-instances", "follow=true", "", 422, "invalid_request", "follow"},
      {"GET", "/billing/transactions", "format=xml", "", 422, "invalid_request", "format"},
      {"GET", "/billing/transactions", "format=csv&limit=5", "", 422, "invalid_request", "limit"},
      {"POST", "/inference-instances/1/stop", "", "{\"id\":1}", 422, "invalid_request", NULL},
      {"POST", "/inference-instances/1/stop", "", "{{}}", 422, "invalid_request", NULL},
      {"GET", "/admin/accounts", "", "", 403, "forbidden", NULL},
  };
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    const refused *c = &CASES[i];
    eco_buf_reset(&fx.body);
    gw_mgmt_call *call = fixture_start(fixture_request(c->method, c->path, c->query, c->body));
    char code[64];
    snprintf(code, sizeof code, "\"code\":\"%s\"", c->code);
    if (fx.status != c->status || strstr(fixture_body(), code) == NULL) {
      fail_msg("%s %s?%s %s: %d %s", c->method, c->path, c->query, c->body, fx.status, fixture_body());
    }
    snprintf(code, sizeof code, c->param == NULL ? "\"param\":null" : "\"param\":\"%s\"", c->param);
    if (strstr(fixture_body(), code) == NULL) {
      fail_msg("%s %s?%s: %s", c->method, c->path, c->query, fixture_body());
    }
    assert_non_null(strstr(fixture_body(), "\"request_id\":\"req_1\""));
    assert_false(fx.more);
    gw_mgmt_release(call);
  }
  assert_int_equal(fx.asked, 0);
}

static void test_a_request_that_the_bus_cannot_carry_is_413(void **state) {
  (void)state;
  enum { VALUE = 60000, VALUES = 17 };
  eco_buf body;
  eco_buf_init(&body, 2 * 1024 * 1024);
  char *value = malloc(VALUE + 1);
  memset(value, 'v', VALUE);
  value[VALUE] = '\0';
  (void)eco_buf_puts(&body, "{\"model_id\":\"mdl_1\",\"env\":{");
  for (int i = 0; i < VALUES; i++) {
    (void)eco_buf_printf(&body, "%s\"N%d\":\"", i == 0 ? "" : ",", i);
    (void)eco_buf_append(&body, value, VALUE);
    (void)eco_buf_putc(&body, '"');
  }
  assert_true(eco_buf_puts(&body, "}}") && body.len < MGMT_BODY_MAX);
  gw_mgmt_call *call = fixture_start(fixture_request("POST", "/inference-instances", "", body.data));
  assert_int_equal(fx.status, 413);
  assert_non_null(strstr(fixture_body(), "\"code\":\"too_large\""));
  assert_int_equal(fx.asked, 0);
  gw_mgmt_release(call);
  eco_buf_free(&body);
  free(value);
}

static void test_a_wrong_method_names_the_right_ones(void **state) {
  (void)state;
  gw_mgmt_call *call = fixture_start(fixture_request("PATCH", "/models/mdl_1", "", ""));
  assert_int_equal(fx.status, 405);
  assert_string_equal(fx.allow, "GET, DELETE");
  gw_mgmt_release(call);
}

static void test_roles_open_their_own_routes_alone(void **state) {
  (void)state;
  static const struct {
    const char *method, *path;
    Ecolink__V1__Role role;
    int status;
  } CASES[] = {
      {"GET", "/api-keys", ECOLINK__V1__ROLE__ROLE_MEMBER, 403},
      {"GET", "/models", ECOLINK__V1__ROLE__ROLE_INFERENCE, 403},
      {"GET", "/models", ECOLINK__V1__ROLE__ROLE_OPERATOR, 403},
      {"GET", "/models", ECOLINK__V1__ROLE__ROLE_UNSPECIFIED, 401},
      {"DELETE", "/members/mem_1", ECOLINK__V1__ROLE__ROLE_MEMBER, 403},
      {"GET", "/admin/regions", ECOLINK__V1__ROLE__ROLE_OWNER, 403},
  };
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    gw_mgmt_request request = fixture_request(CASES[i].method, CASES[i].path, "", "");
    request.caller.role = CASES[i].role;
    gw_mgmt_call *call = fixture_start(request);
    assert_int_equal(fx.status, CASES[i].status);
    gw_mgmt_release(call);
  }
  assert_int_equal(fx.asked, 0);
}

static void test_the_media_type_must_be_json(void **state) {
  (void)state;
  static const struct {
    const char *type;
    int status;
  } CASES[] = {{"application/json; charset=utf-8", 201},   {"Application/JSON", 201},  {"", 201},
               {"application/x-www-form-urlencoded", 415}, {"application/jsonx", 415}, {"text/json", 415}};
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    answer_model();
    gw_mgmt_request request = fixture_request("POST", "/models", "", "{\"name\":\"a\"}");
    request.content_type = CASES[i].type;
    gw_mgmt_call *call = fixture_start(request);
    assert_int_equal(fx.status, CASES[i].status);
    gw_mgmt_release(call);
  }
}

static void test_dry_run_asks_for_a_quote_without_an_idempotency_key(void **state) {
  (void)state;
  Ecolink__V1__Quote quote = ECOLINK__V1__QUOTE__INIT;
  fixture_will_answer(&quote.base);
  gw_mgmt_call *call =
      fixture_start(fixture_request("POST", "/inference-instances", "dry_run=true", "{\"model_id\":\"mdl_1\"}"));
  assert_string_equal(fx.methods[0], "scheduler.Quote");
  assert_int_equal(fx.status, 200);
  assert_non_null(strstr(fixture_body(), "\"object\":\"quote\""));
  assert_string_equal(fx.idempotency_key[0], "");
  gw_mgmt_release(call);
  answer_instance();
  call = fixture_start(fixture_request("POST", "/inference-instances", "dry_run=false", "{\"model_id\":\"mdl_1\"}"));
  assert_string_equal(fx.methods[1], "scheduler.Launch");
  assert_int_equal(fx.status, 201);
  gw_mgmt_release(call);
}

static void test_deleting_an_instance_stops_it(void **state) {
  (void)state;
  answer_instance();
  gw_mgmt_call *call = fixture_start(fixture_request("DELETE", "/inference-instances/142", "", "{}"));
  assert_string_equal(fx.methods[0], "scheduler.StopInstance");
  assert_int_equal(fx.status, 200);
  eco_arena *arena = eco_arena_new();
  assert_int_equal(
      ecolink__v1__stop_instance_request__unpack(eco_arena_pb(arena), fx.request_lens[0], fx.requests[0])->id, 142);
  eco_arena_free(arena);
  gw_mgmt_release(call);
}

static void test_the_paths_name_fills_the_body_and_must_not_contradict_it(void **state) {
  (void)state;
  Ecolink__V1__GpuType type = ECOLINK__V1__GPU_TYPE__INIT;
  static const struct {
    const char *path, *body;
    int status;
  } CASES[] = {{"/admin/gpu-types/rtx%204090", "{\"memory_gb\":24}", 200},
               {"/admin/gpu-types/rtx%204090", "{\"name\":\"rtx 4090\"}", 200},
               {"/admin/gpu-types/rtx%204090", "{\"name\":\"a100\"}", 422}};
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    fixture_will_answer(&type.base);
    gw_mgmt_request request = fixture_request("PUT", CASES[i].path, "", CASES[i].body);
    request.caller.role = ECOLINK__V1__ROLE__ROLE_OPERATOR;
    gw_mgmt_call *call = fixture_start(request);
    assert_int_equal(fx.status, CASES[i].status);
    gw_mgmt_release(call);
  }
  eco_arena *arena = eco_arena_new();
  assert_string_equal(
      ecolink__v1__put_gpu_type_request__unpack(eco_arena_pb(arena), fx.request_lens[0], fx.requests[0])->name,
      "rtx 4090");
  eco_arena_free(arena);
}

static void test_an_invite_is_answered_with_its_accept_link_once(void **state) {
  (void)state;
  Ecolink__V1__Invite invite = ECOLINK__V1__INVITE__INIT;
  Ecolink__V1__Secret token = ECOLINK__V1__SECRET__INIT;
  token.value = (char *)"tok123";
  invite.token = &token;
  fixture_will_answer(&invite.base);
  gw_mgmt_call *call = fixture_start(fixture_request("POST", "/invites", "", "{\"email\":\"a@b.c\"}"));
  assert_int_equal(fx.status, 201);
  assert_non_null(strstr(fixture_body(), "\"accept_url\":\"https://api.example.test/invites/tok123/accept\"}"));
  gw_mgmt_release(call);
  eco_buf_reset(&fx.body);
  invite.token = NULL;  // as a replayed answer is
  fixture_will_answer(&invite.base);
  call = fixture_start(fixture_request("POST", "/invites", "", "{\"email\":\"a@b.c\"}"));
  assert_null(strstr(fixture_body(), "accept_url"));
  gw_mgmt_release(call);
}

// ---- idempotency and the second try ----

static void test_writes_carry_the_clients_key_and_the_bodys_hash(void **state) {
  (void)state;
  static const char *const BODIES[] = {"{\"name\":\"a\"}", "{\"name\":\"a\"}", "{\"name\":\"b\"}"};
  for (size_t i = 0; i < 3; i++) {
    answer_model();
    gw_mgmt_request request = fixture_request("POST", "/models", "", BODIES[i]);
    request.idempotency_key = "my-key";
    gw_mgmt_release(fixture_start(request));
    assert_string_equal(fx.idempotency_key[i], "my-key");
    assert_int_equal(fx.idempotency_hash_len[i], 32);
  }
  assert_memory_equal(fx.idempotency_hash[0], fx.idempotency_hash[1], 32);
  assert_memory_not_equal(fx.idempotency_hash[0], fx.idempotency_hash[2], 32);
}

static void test_reads_carry_no_key(void **state) {
  (void)state;
  answer_model();
  gw_mgmt_release(fixture_start(fixture_request("GET", "/models/mdl_1", "", "")));
  assert_string_equal(fx.idempotency_key[0], "");
  assert_int_equal(fx.idempotency_hash_len[0], 0);
}

static void test_bad_idempotency_keys_are_refused(void **state) {
  (void)state;
  char longest[258];
  memset(longest, 'k', sizeof longest);
  longest[256] = '\0';
  const char *const bad[] = {"two words", "caf\xC3\xA9", "tab\t", "\x7f", longest};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    gw_mgmt_request request = fixture_request("POST", "/models", "", "{\"name\":\"a\"}");
    request.idempotency_key = bad[i];
    gw_mgmt_release(fixture_start(request));
    assert_int_equal(fx.status, 422);
  }
  assert_int_equal(fx.asked, 0);
  longest[255] = '\0';
  answer_model();
  gw_mgmt_request request = fixture_request("POST", "/models", "", "{\"name\":\"a\"}");
  request.idempotency_key = longest;
  gw_mgmt_release(fixture_start(request));
  assert_int_equal(fx.status, 201);
}

static void test_an_empty_idempotency_key_and_a_second_one_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *key;
    unsigned sent;
  } BAD[] = {{"", 1}, {"a", 2}, {"", 2}};
  for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
    gw_mgmt_request request = fixture_request("POST", "/models", "", "{\"name\":\"a\"}");
    request.idempotency_key = BAD[i].key;
    request.idempotency_keys = BAD[i].sent;
    gw_mgmt_release(fixture_start(request));
    assert_int_equal(fx.status, 422);
  }
  assert_int_equal(fx.asked, 0);
}

static void test_an_unreachable_service_is_tried_once_more_with_the_same_key(void **state) {
  (void)state;
  fixture_will_fail(ECO_CONTROL_PLANE_UNAVAILABLE);
  answer_model();
  gw_mgmt_release(fixture_start(fixture_request("POST", "/models", "", "{\"name\":\"a\"}")));
  assert_int_equal(fx.asked, 2);
  assert_int_equal(fx.status, 201);
  assert_string_equal(fx.idempotency_key[0], fx.idempotency_key[1]);
  assert_int_not_equal(fx.idempotency_key[0][0], '\0');
  assert_true(fx.timeouts[1] <= fx.timeouts[0]);
  assert_int_equal(fx.pieces, 1);
}

static void test_a_second_failure_is_answered_503_with_retry_after(void **state) {
  (void)state;
  fixture_will_fail(ECO_CONTROL_PLANE_UNAVAILABLE);
  fixture_will_fail(ECO_CONTROL_PLANE_UNAVAILABLE);
  gw_mgmt_release(fixture_start(fixture_request("GET", "/models", "", "")));
  assert_int_equal(fx.asked, 2);
  assert_int_equal(fx.status, 503);
  assert_true(fx.retry_after_s > 0);
}

static void test_a_refusal_is_not_tried_again(void **state) {
  (void)state;
  fixture_will_fail(ECO_INSUFFICIENT_BALANCE);
  gw_mgmt_release(fixture_start(fixture_request("POST", "/inference-instances", "", "{\"model_id\":\"m\"}")));
  assert_int_equal(fx.asked, 1);
  assert_int_equal(fx.status, 402);
}

static void test_an_invites_token_is_not_written_into_the_idempotency_scope(void **state) {
  (void)state;
  Ecolink__V1__AcceptInviteResponse accepted = ECOLINK__V1__ACCEPT_INVITE_RESPONSE__INIT;
  fixture_will_answer(&accepted.base);
  gw_mgmt_request request = fixture_request("POST", "/invites/tok123/accept", "", "");
  request.caller = (eco_caller){.account_id = "", .key_id = "", .member_id = "", .operator_id = ""};
  gw_mgmt_release(fixture_start(request));
  assert_int_equal(fx.status, 201);
  assert_null(strstr(fx.http_path[0], "tok123"));
  assert_non_null(strstr(fx.http_path[0], "/invites/{token}/accept#"));
}

static void test_nothing_is_delivered_after_release(void **state) {
  (void)state;
  fx.hold = true;
  answer_model();
  gw_mgmt_call *call = fixture_start(fixture_request("GET", "/models/mdl_1", "", ""));
  gw_mgmt_release(call);
  fixture_deliver();
  assert_int_equal(fx.pieces, 0);
}

static void test_an_answer_that_cannot_be_read_is_internal(void **state) {
  (void)state;
  answer_model();
  memset(fx.answers[0].packed, 0xFF, fx.answers[0].len);
  gw_mgmt_release(fixture_start(fixture_request("GET", "/models/mdl_1", "", "")));
  assert_int_equal(fx.status, 500);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_registering_a_model_seals_the_token_and_answers_201),
      CASE(test_bad_requests_are_refused_before_any_rpc),
      CASE(test_a_request_that_the_bus_cannot_carry_is_413),
      CASE(test_a_wrong_method_names_the_right_ones),
      CASE(test_roles_open_their_own_routes_alone),
      CASE(test_the_media_type_must_be_json),
      CASE(test_dry_run_asks_for_a_quote_without_an_idempotency_key),
      CASE(test_deleting_an_instance_stops_it),
      CASE(test_the_paths_name_fills_the_body_and_must_not_contradict_it),
      CASE(test_an_invite_is_answered_with_its_accept_link_once),
      CASE(test_writes_carry_the_clients_key_and_the_bodys_hash),
      CASE(test_reads_carry_no_key),
      CASE(test_bad_idempotency_keys_are_refused),
      CASE(test_an_empty_idempotency_key_and_a_second_one_are_refused),
      CASE(test_an_unreachable_service_is_tried_once_more_with_the_same_key),
      CASE(test_a_second_failure_is_answered_503_with_retry_after),
      CASE(test_a_refusal_is_not_tried_again),
      CASE(test_an_invites_token_is_not_written_into_the_idempotency_scope),
      CASE(test_nothing_is_delivered_after_release),
      CASE(test_an_answer_that_cannot_be_read_is_internal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

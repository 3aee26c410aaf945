// The JSON mapper's judgement of input: what is refused, where it points to, and what is read.
// clang-format off
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <yyjson.h>
// clang-format on

#include "ecolink/json_pb.h"
#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/common.pb-c.h"
#include "ecolink/v1/gateway.pb-c.h"
#include "ecolink/v1/health.pb-c.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"

static eco_seal_key public_key;
static eco_seal_key secret_key;

static uint64_t random_state = 0x9E3779B97F4A7C15u;
static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static ProtobufCMessage *new_message(const ProtobufCMessageDescriptor *type, eco_arena *arena) {
  ProtobufCMessage *message = eco_alloc(arena, type->sizeof_message);
  protobuf_c_message_init(type, message);
  return message;
}

typedef struct refusal {
  const ProtobufCMessageDescriptor *type;
  const char *json;
  eco_code code;
  const char *param;
} refusal;

#define LAUNCH &ecolink__v1__launch_request__descriptor
#define TOPUP &ecolink__v1__top_up_request__descriptor
#define KEY &ecolink__v1__create_api_key_request__descriptor
#define REGION &ecolink__v1__put_region_request__descriptor
#define MODEL &ecolink__v1__create_model_request__descriptor

static const refusal REFUSALS[] = {
    {LAUNCH, "", ECO_INVALID_JSON, ""},
    {LAUNCH, "{", ECO_INVALID_JSON, ""},
    {LAUNCH, "{\"name\":\"a\",}", ECO_INVALID_JSON, ""},
    {LAUNCH, "{'name':1}", ECO_INVALID_JSON, ""},
    {LAUNCH, "{} x", ECO_INVALID_JSON, ""},
    {LAUNCH, "{\"name\":NaN}", ECO_INVALID_JSON, ""},
    {LAUNCH, "/* c */{}", ECO_INVALID_JSON, ""},
    {LAUNCH, "\xEF\xBB\xBF{}", ECO_INVALID_JSON, ""},
    {LAUNCH, "{\"name\":\"\xFF\"}", ECO_INVALID_JSON, ""},
    {LAUNCH, "{\"name\":\"\xED\xA0\x80\"}", ECO_INVALID_JSON, ""},
    {LAUNCH, "{\"name\":\"\\ud800\"}", ECO_INVALID_JSON, ""},
    {LAUNCH, "[]", ECO_INVALID_REQUEST, ""},
    {LAUNCH, "null", ECO_INVALID_REQUEST, ""},
    {LAUNCH, "\"x\"", ECO_INVALID_REQUEST, ""},
    {LAUNCH, "{\"nmae\":\"a\"}", ECO_INVALID_REQUEST, "nmae"},
    {LAUNCH, "{\"\":1}", ECO_INVALID_REQUEST, ""},
    {LAUNCH, "{\"name\\u0000x\":1}", ECO_INVALID_REQUEST, "name"},
    {LAUNCH, "{\"name\":1}", ECO_INVALID_REQUEST, "name"},
    {LAUNCH, "{\"name\":{}}", ECO_INVALID_REQUEST, "name"},
    {LAUNCH, "{\"name\":\"a\\u0000b\"}", ECO_INVALID_REQUEST, "name"},
    {LAUNCH, "{\"name\":\"a\",\"name\":\"a\"}", ECO_INVALID_REQUEST, "name"},
    {LAUNCH, "{\"name\":null,\"name\":\"a\"}", ECO_INVALID_REQUEST, "name"},
    {LAUNCH, "{\"name\":\"a\",\"n\\u0061me\":\"a\"}", ECO_INVALID_REQUEST, "name"},
    {LAUNCH, "{\"gpu_count\":\"1\"}", ECO_INVALID_REQUEST, "gpu_count"},
    {LAUNCH, "{\"gpu_count\":1.0}", ECO_INVALID_REQUEST, "gpu_count"},
    {LAUNCH, "{\"gpu_count\":1e3}", ECO_INVALID_REQUEST, "gpu_count"},
    {LAUNCH, "{\"gpu_count\":true}", ECO_INVALID_REQUEST, "gpu_count"},
    {LAUNCH, "{\"gpu_count\":2147483648}", ECO_INVALID_REQUEST, "gpu_count"},
    {LAUNCH, "{\"gpu_count\":-2147483649}", ECO_INVALID_REQUEST, "gpu_count"},
    {LAUNCH, "{\"gpu_count\":9223372036854775808}", ECO_INVALID_REQUEST, "gpu_count"},
    {LAUNCH, "{\"gpu_count\":99999999999999999999999}", ECO_INVALID_REQUEST, "gpu_count"},
    {LAUNCH, "{\"allow_single_region\":1}", ECO_INVALID_REQUEST, "allow_single_region"},
    {LAUNCH, "{\"allow_single_region\":\"true\"}", ECO_INVALID_REQUEST, "allow_single_region"},
    {LAUNCH, "{\"regions\":\"a\"}", ECO_INVALID_REQUEST, "regions"},
    {LAUNCH, "{\"regions\":[\"a\",null]}", ECO_INVALID_REQUEST, "regions[1]"},
    {LAUNCH, "{\"regions\":[\"a\",2]}", ECO_INVALID_REQUEST, "regions[1]"},
    {LAUNCH, "{\"regions\":[[\"a\"]]}", ECO_INVALID_REQUEST, "regions[0]"},
    {LAUNCH, "{\"env\":[]}", ECO_INVALID_REQUEST, "env"},
    {LAUNCH, "{\"env\":{\"FOO\":1}}", ECO_INVALID_REQUEST, "env.FOO"},
    {LAUNCH, "{\"env\":{\"FOO\":\"1\",\"FOO\":\"2\"}}", ECO_INVALID_REQUEST, "env.FOO"},
    {LAUNCH, "{\"env\":{\"FOO\":\"a\\u0000\"}}", ECO_INVALID_REQUEST, "env.FOO"},
    {LAUNCH, "{\"env\":{\"\":\"a\"}}", ECO_INVALID_REQUEST, "env."},
    {LAUNCH, "{\"secret_env\":{\"FOO\":{}}}", ECO_INVALID_REQUEST, "secret_env.FOO"},
    {LAUNCH, "{\"secret_env\":[\"FOO\"]}", ECO_INVALID_REQUEST, "secret_env"},
    {LAUNCH, "{\"image_pull_secret\":7}", ECO_INVALID_REQUEST, "image_pull_secret"},
    {LAUNCH, "{\"openai_compatible_set\":true}", ECO_INVALID_REQUEST, "openai_compatible_set"},
    {LAUNCH, "{\"name_micros\":1}", ECO_INVALID_REQUEST, "name_micros"},
    {TOPUP, "{\"amount\":5}", ECO_INVALID_REQUEST, "amount"},
    {TOPUP, "{\"amount\":\"5.0000001\"}", ECO_INVALID_REQUEST, "amount"},
    {TOPUP, "{\"amount\":\"1e3\"}", ECO_INVALID_REQUEST, "amount"},
    {TOPUP, "{\"amount\":\"5\\u0000\"}", ECO_INVALID_REQUEST, "amount"},
    {TOPUP, "{\"amount\":\"\"}", ECO_INVALID_REQUEST, "amount"},
    {TOPUP, "{\"amount_micros\":\"5\"}", ECO_INVALID_REQUEST, "amount_micros"},
    {TOPUP, "{\"amount_micros\":5.5}", ECO_INVALID_REQUEST, "amount_micros"},
    {TOPUP, "{\"amount_micros\":9223372036854775808}", ECO_INVALID_REQUEST, "amount_micros"},
    {TOPUP, "{\"amount\":\"5.00\",\"amount_micros\":5000001}", ECO_INVALID_REQUEST, "amount_micros"},
    {TOPUP, "{\"amount_micros\":5000001,\"amount\":\"5.00\"}", ECO_INVALID_REQUEST, "amount"},
    {TOPUP, "{\"amount\":\"5.00\",\"amount\":\"5.00\"}", ECO_INVALID_REQUEST, "amount"},
    {KEY, "{\"role\":\"OWNER\"}", ECO_INVALID_REQUEST, "role"},
    {KEY, "{\"role\":\"unspecified\"}", ECO_INVALID_REQUEST, "role"},
    {KEY, "{\"role\":\"\"}", ECO_INVALID_REQUEST, "role"},
    {KEY, "{\"role\":1}", ECO_INVALID_REQUEST, "role"},
    {KEY, "{\"expires_at\":\"tomorrow\"}", ECO_INVALID_REQUEST, "expires_at"},
    {KEY, "{\"expires_at\":0}", ECO_INVALID_REQUEST, "expires_at"},
    {KEY, "{\"expires_at\":{\"micros\":1}}", ECO_INVALID_REQUEST, "expires_at"},
    {REGION, "{\"gpus\":[{\"gpu_type\":\"a\",\"total\":\"2\"}]}", ECO_INVALID_REQUEST, "gpus[0].total"},
    {REGION, "{\"gpus\":[{},{\"x\":1}]}", ECO_INVALID_REQUEST, "gpus[1].x"},
    {REGION, "{\"gpus\":[7]}", ECO_INVALID_REQUEST, "gpus[0]"},
    {REGION, "{\"gpus\":{}}", ECO_INVALID_REQUEST, "gpus"},
    {MODEL, "{\"hf_token\":{\"box\":\"AAAA\"}}", ECO_INVALID_REQUEST, "hf_token"},
    {MODEL, "{\"hf_token\":\"a\\u0000b\"}", ECO_INVALID_REQUEST, "hf_token"},
    {&ecolink__v1__rpc_request__descriptor, "{\"body\":\"AAAA\"}", ECO_INVALID_REQUEST, "body"},
    {&ecolink__v1__model_list__descriptor, "{\"page\":{}}", ECO_INVALID_REQUEST, "page"},
};

static void test_bad_input_is_refused_and_the_member_at_fault_is_named(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
    eco_arena *arena = eco_arena_new();
    ProtobufCMessage *out = NULL;
    const refusal *c = &REFUSALS[i];
    const eco_status st = eco_json_to_pb(c->json, strlen(c->json), c->type, &public_key, arena, &out);
    if (st.code != c->code || strcmp(st.param, c->param) != 0) {
      fail_msg("%s: got %s, param '%s': %s", c->json, eco_code_word(st.code), st.param, st.message);
    }
    assert_true(st.message[0] != '\0');
    eco_arena_free(arena);
  }
}

static eco_status read_text(const ProtobufCMessageDescriptor *type, const char *json, eco_arena *arena, void *out) {
  return eco_json_to_pb(json, strlen(json), type, &public_key, arena, out);
}

static void test_nesting_beyond_the_limit_is_refused_but_brackets_in_strings_are_text(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  ProtobufCMessage *out = NULL;
  enum { DEEP = 100000 };
  char *deep = eco_alloc(arena, DEEP + 1);
  memset(deep, '[', DEEP);
  assert_int_equal(read_text(LAUNCH, deep, arena, &out).code, ECO_INVALID_JSON);
  assert_true(eco_ok(read_text(LAUNCH, "{\"name\":\"[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"}", arena, &out)));
  eco_arena_free(arena);
}

static void test_strings_arrays_and_maps_are_bounded(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  ProtobufCMessage *out = NULL;
  char *big = eco_alloc(arena, ECO_JSON_STRING_MAX + 2);
  memset(big, 'x', ECO_JSON_STRING_MAX);
  assert_true(eco_ok(read_text(LAUNCH, eco_sprintf(arena, "{\"name\":\"%s\"}", big), arena, &out)));
  big[ECO_JSON_STRING_MAX] = 'x';
  assert_int_equal(read_text(LAUNCH, eco_sprintf(arena, "{\"name\":\"%s\"}", big), arena, &out).code,
                   ECO_INVALID_REQUEST);
  big[ECO_JSON_SECRET_MAX + 1] = '\0';
  assert_int_equal(read_text(MODEL, eco_sprintf(arena, "{\"hf_token\":\"%s\"}", big), arena, &out).code,
                   ECO_INVALID_REQUEST);
  char *items = eco_strdup(arena, "\"r\"");
  char *members = eco_strdup(arena, "\"n\":\"v\"");
  for (int i = 0; i < ECO_JSON_ITEMS_MAX; i++) {
    items = eco_sprintf(arena, "%s,\"r\"", items);
    members = eco_sprintf(arena, "%s,\"n%d\":\"v\"", members, i);
  }
  eco_status st = read_text(LAUNCH, eco_sprintf(arena, "{\"regions\":[%s]}", items), arena, &out);
  assert_string_equal(st.param, "regions");
  st = read_text(LAUNCH, eco_sprintf(arena, "{\"env\":{%s}}", members), arena, &out);
  assert_string_equal(st.param, "env");
  eco_arena_free(arena);
}

static void test_malformed_json_names_its_position(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  ProtobufCMessage *out = NULL;
  const eco_status st = read_text(LAUNCH, "{\n  \"name\": oops}", arena, &out);
  assert_int_equal(st.code, ECO_INVALID_JSON);
  assert_non_null(strstr(st.message, "byte 12"));
  assert_non_null(strstr(st.message, "line 2"));
  eco_arena_free(arena);
}

static void test_null_is_the_same_as_absent(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__LaunchRequest *r = NULL;
  assert_true(eco_ok(read_text(LAUNCH,
                               "{\"name\":null,\"gpu_count\":null,\"regions\":null,\"env\":{\"A\":null},"
                               "\"secret_env\":null,\"image_pull_secret\":null,\"openai_compatible\":null}",
                               arena, &r)));
  assert_int_equal(protobuf_c_message_get_packed_size(&r->base), 0);
  Ecolink__V1__TopUpRequest *t = NULL;
  assert_true(eco_ok(read_text(TOPUP, "{\"amount\":null,\"amount_micros\":7}", arena, &t)));
  assert_int_equal(t->amount->micros, 7);
  eco_arena_free(arena);
}

static void test_money_is_taken_in_either_form_and_in_both_when_they_agree(void **state) {
  (void)state;
  static const char *const SAME[] = {"{\"amount\":\"12.5\"}", "{\"amount_micros\":12500000}",
                                     "{\"amount\":\"12.50\",\"amount_micros\":12500000}",
                                     "{\"amount_micros\":12500000,\"amount\":\"12.500000\"}"};
  for (size_t i = 0; i < sizeof SAME / sizeof SAME[0]; i++) {
    eco_arena *arena = eco_arena_new();
    Ecolink__V1__TopUpRequest *t = NULL;
    assert_true(eco_ok(read_text(TOPUP, SAME[i], arena, &t)));
    assert_int_equal(t->amount->micros, 12500000);
    eco_arena_free(arena);
  }
}

static void test_oneof_fields_are_absent_unless_set_even_to_zero(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__LaunchRequest *r = NULL;
  assert_true(eco_ok(read_text(LAUNCH, "{\"openai_compatible\":false,\"gpu_count\":0}", arena, &r)));
  assert_int_equal(r->openai_compatible_set_case, ECOLINK__V1__LAUNCH_REQUEST__OPENAI_COMPATIBLE_SET_OPENAI_COMPATIBLE);
  assert_int_equal(r->gpu_count_set_case, ECOLINK__V1__LAUNCH_REQUEST__GPU_COUNT_SET_GPU_COUNT);
  assert_int_equal(r->port_set_case, 0);
  Ecolink__V1__Balance balance = ECOLINK__V1__BALANCE__INIT;
  eco_buf out;
  eco_buf_init(&out, 1024);
  assert_true(eco_pb_to_json(&balance.base, NULL, &out));
  assert_null(strstr(out.data, "runway"));
  eco_buf_free(&out);
  eco_arena_free(arena);
}

static void test_every_truncation_and_mutation_is_refused_or_read_without_harm(void **state) {
  (void)state;
  static const char TEXT[] =
      "{\"model_id\":\"mdl_1\",\"gpu_count\":2,\"regions\":[\"a\",\"b\"],\"env\":{\"A\":\"1\",\"B\":\"2\"},"
      "\"secret_env\":{\"T\":\"s\"},\"allow_single_region\":true,\"port\":8000}";
  enum { LEN = sizeof TEXT - 1 };
  for (size_t i = 0; i < LEN; i++) {
    eco_arena *arena = eco_arena_new();
    ProtobufCMessage *out = NULL;
    assert_int_equal(eco_json_to_pb(TEXT, i, &ecolink__v1__launch_request__descriptor, &public_key, arena, &out).code,
                     ECO_INVALID_JSON);
    for (int n = 0; n < 16; n++) {
      char copy[sizeof TEXT];
      memcpy(copy, TEXT, sizeof TEXT);
      copy[i] = (char)random_next();
      const eco_status st =
          eco_json_to_pb(copy, LEN, &ecolink__v1__launch_request__descriptor, &public_key, arena, &out);
      assert_true(eco_ok(st) || st.code == ECO_INVALID_JSON || st.code == ECO_INVALID_REQUEST);
    }
    eco_arena_free(arena);
  }
}

// ---- text parameters ----

typedef struct parameter {
  const char *name;
  const char *text;
  bool good;
} parameter;

static void test_text_parameters_are_judged_like_json(void **state) {
  (void)state;
  static const parameter CASES[] = {
      {"limit", "20", true},
      {"limit", "-1", true},
      {"limit", "0", true},
      {"limit", "", false},
      {"limit", "020", false},
      {"limit", "+2", false},
      {"limit", "2.0", false},
      {"limit", " 2", false},
      {"limit", "2147483648", false},
      {"limit", "abc", false},
      {"limit", "-", false},
      {"limit", "-0", false},
      {"instance_id", "9223372036854775807", true},
      {"instance_id", "9223372036854775808", false},
      {"instance_id", "99999999999999999999999999", false},
      {"type", "hold", true},
      {"type", "HOLD", false},
      {"type", "unspecified", false},
      {"cursor", "abc", true},
      {"cursor", "\xC3\xA9", true},
      {"cursor", "\xC3", false},
      {"cursor", "\xC0\x80", false},
      {"cursor", "\xED\xA0\x80", false},
      {"cursor", "\xF4\x90\x80\x80", false},
      {"nonsense", "1", false},
      {"page", "1", false},
  };
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    eco_arena *arena = eco_arena_new();
    ProtobufCMessage *m = new_message(&ecolink__v1__list_transactions_request__descriptor, arena);
    const eco_status st = eco_pb_set_text(m, CASES[i].name, CASES[i].text, strlen(CASES[i].text), arena);
    if (eco_ok(st) != CASES[i].good) {
      fail_msg("%s=%s: %s", CASES[i].name, CASES[i].text, st.message);
    }
    if (!CASES[i].good) {
      assert_int_equal(st.code, ECO_INVALID_REQUEST);
      assert_string_equal(st.param, CASES[i].name);
    }
    eco_arena_free(arena);
  }
  eco_arena *arena = eco_arena_new();
  ProtobufCMessage *m = new_message(&ecolink__v1__list_transactions_request__descriptor, arena);
  assert_int_equal(eco_pb_set_text(m, "cursor", "a\0b", 3, arena).code, ECO_INVALID_REQUEST);
  eco_arena_free(arena);
}

int main(void) {
  eco_seal_keypair(&public_key, &secret_key);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_truncation_and_mutation_is_refused_or_read_without_harm),
      cmocka_unit_test(test_bad_input_is_refused_and_the_member_at_fault_is_named),
      cmocka_unit_test(test_nesting_beyond_the_limit_is_refused_but_brackets_in_strings_are_text),
      cmocka_unit_test(test_strings_arrays_and_maps_are_bounded),
      cmocka_unit_test(test_malformed_json_names_its_position),
      cmocka_unit_test(test_null_is_the_same_as_absent),
      cmocka_unit_test(test_money_is_taken_in_either_form_and_in_both_when_they_agree),
      cmocka_unit_test(test_oneof_fields_are_absent_unless_set_even_to_zero),
      cmocka_unit_test(test_text_parameters_are_judged_like_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

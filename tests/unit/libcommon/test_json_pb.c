// The JSON mapper: generated round trips over every message of the contract, and what must be refused.
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

#include "../../../libcommon/src/json_pb_internal.h"
#include "all_messages.h"
#include "ecolink/error_json.h"
#include "ecolink/json_pb.h"
#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/common.pb-c.h"
#include "ecolink/v1/gateway.pb-c.h"
#include "ecolink/v1/health.pb-c.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"

static const ProtobufCMessageDescriptor *const MESSAGES[] = {
#define X(name) &ecolink__v1__##name##__descriptor,
    ALL_MESSAGES(X)
#undef X
};
enum { MESSAGE_COUNT = sizeof MESSAGES / sizeof MESSAGES[0], OUT_MAX = 16 * 1024 * 1024 };

static eco_seal_key public_key;
static eco_seal_key secret_key;

// ---- generated messages ----

static uint64_t random_state = 0x9E3779B97F4A7C15u;
static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}
static uint64_t random_below(uint64_t n) {
  return random_next() % n;
}

static char *random_text(eco_arena *arena) {
  static const char *const PIECES[] = {
      "a",    "Z9",   "\"", "\\", "\n", "\x01", "\x7f", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
      "{}[]", "null", "</", "\t"};
  char *text = eco_strdup(arena, "");
  const uint64_t pieces = 1 + random_below(6);
  for (uint64_t i = 0; i < pieces; i++) {
    text = eco_sprintf(arena, "%s%s", text, PIECES[random_below(sizeof PIECES / sizeof PIECES[0])]);
  }
  return text;
}

static int64_t random_i64(void) {
  static const int64_t EDGES[] = {0, 1, -1, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, INT64_C(1) << 53};
  return random_below(2) != 0 ? EDGES[random_below(sizeof EDGES / sizeof EDGES[0])] : (int64_t)random_next();
}

static ProtobufCMessage *new_message(const ProtobufCMessageDescriptor *type, eco_arena *arena) {
  ProtobufCMessage *message = eco_alloc(arena, type->sizeof_message);
  protobuf_c_message_init(type, message);
  return message;
}

static ProtobufCMessage *random_message(const ProtobufCMessageDescriptor *type, eco_arena *arena);

static void random_value(const ProtobufCFieldDescriptor *field, void *at, eco_arena *arena) {
  switch (eco_json_form_of(field)) {
    case ECO_FORM_STRING:
      *(char **)at = random_text(arena);
      break;
    case ECO_FORM_BOOL:
      *(protobuf_c_boolean *)at = random_below(2) != 0;
      break;
    case ECO_FORM_I32:
      *(int32_t *)at = (int32_t)random_i64();
      break;
    case ECO_FORM_I64:
      *(int64_t *)at = random_i64();
      break;
    case ECO_FORM_ENUM: {
      const ProtobufCEnumDescriptor *words = field->descriptor;
      *(int *)at = words->values[random_below(words->n_values)].value;
      break;
    }
    case ECO_FORM_TIMESTAMP: {
      Ecolink__V1__Timestamp *t = (void *)new_message(field->descriptor, arena);
      t->micros = (int64_t)random_below(UINT64_C(4000000000000000));
      *(void **)at = t;
      break;
    }
    case ECO_FORM_MONEY: {
      Ecolink__V1__Money *m = (void *)new_message(field->descriptor, arena);
      m->micros = random_i64();
      *(void **)at = m;
      break;
    }
    case ECO_FORM_SECRET: {
      Ecolink__V1__Secret *s = (void *)new_message(field->descriptor, arena);
      s->value = random_text(arena);
      *(void **)at = s;
      break;
    }
    case ECO_FORM_MAP: {
      Ecolink__V1__KeyValue *kv = (void *)new_message(field->descriptor, arena);
      kv->name = eco_sprintf(arena, "%s%" PRIu64, random_text(arena), random_next());
      kv->value = random_text(arena);
      *(void **)at = kv;
      break;
    }
    case ECO_FORM_MESSAGE:
      *(void **)at = random_message(field->descriptor, arena);
      break;
    default:
      fail_msg("no generator for %s", field->name);
  }
}

static bool round_trips(eco_json_form form) {
  return form != ECO_FORM_HIDDEN && form != ECO_FORM_SEALED && form != ECO_FORM_SEALED_MAP && form != ECO_FORM_PAGE;
}

static void random_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, eco_arena *arena) {
  char *base = (char *)message;
  if (!eco_pb_repeated(field)) {
    if (eco_pb_in_oneof(field)) {
      *(int *)(void *)(base + field->quantifier_offset) = (int)field->id;
    }
    random_value(field, base + field->offset, arena);
    return;
  }
  const size_t size = eco_json_element_size(eco_json_form_of(field));
  const size_t count = random_below(4);
  char *items = eco_alloc_array(arena, count + 1, size);
  for (size_t i = 0; i < count; i++) {
    random_value(field, items + i * size, arena);
  }
  *(size_t *)(void *)(base + field->quantifier_offset) = count;
  *(void **)(void *)(base + field->offset) = items;
}

static ProtobufCMessage *random_message(const ProtobufCMessageDescriptor *type, eco_arena *arena) {
  ProtobufCMessage *message = new_message(type, arena);
  for (unsigned i = 0; i < type->n_fields; i++) {
    if (round_trips(eco_json_form_of(&type->fields[i])) && random_below(3) != 0) {
      random_field(message, &type->fields[i], arena);
    }
  }
  return message;
}

static bool has_form(const ProtobufCMessageDescriptor *type, eco_json_form form) {
  for (unsigned i = 0; i < type->n_fields; i++) {
    if (eco_json_form_of(&type->fields[i]) == form) {
      return true;
    }
  }
  return false;
}

static void assert_same_message(const ProtobufCMessage *a, const ProtobufCMessage *b, eco_arena *arena) {
  const size_t a_len = protobuf_c_message_get_packed_size(a);
  const size_t b_len = protobuf_c_message_get_packed_size(b);
  assert_int_equal(a_len, b_len);
  uint8_t *a_bytes = eco_alloc(arena, a_len + 1);
  uint8_t *b_bytes = eco_alloc(arena, b_len + 1);
  protobuf_c_message_pack(a, a_bytes);
  protobuf_c_message_pack(b, b_bytes);
  assert_memory_equal(a_bytes, b_bytes, a_len);
}

static void round_trip(const ProtobufCMessageDescriptor *type) {
  eco_arena *arena = eco_arena_new();
  eco_buf out;
  eco_buf_init(&out, OUT_MAX);
  ProtobufCMessage *message = random_message(type, arena);
  assert_true(eco_pb_to_json(message, NULL, &out));
  // Sealed maps go out as the list of names and come in as a map: no round trip by design.
  char *list = strstr(out.data, "\"secret_env\":[]");
  if (list != NULL) {
    memcpy(list, "\"secret_env\":{}", 15);
  }
  ProtobufCMessage *back = NULL;
  const eco_status st = eco_json_to_pb(out.data, out.len, type, &public_key, arena, &back);
  if (!eco_ok(st)) {
    fail_msg("%s: %s (%s) in %s", type->name, st.message, st.param, out.data);
  }
  assert_same_message(message, back, arena);
  eco_buf_free(&out);
  eco_arena_free(arena);
}

static void test_every_message_survives_the_way_to_json_and_back(void **state) {
  (void)state;
  for (size_t i = 0; i < MESSAGE_COUNT; i++) {
    if (has_form(MESSAGES[i], ECO_FORM_PAGE)) {
      continue;
    }
    for (int n = 0; n < 200; n++) {
      round_trip(MESSAGES[i]);
    }
  }
}

// all_messages.h is written by hand: the contract's files say whether it is whole.
static void test_the_list_of_messages_is_the_contracts(void **state) {
  (void)state;
  static const char *const FILES[] = {"common", "registry", "scheduler", "billing", "gateway", "health"};
  int count = 0;
  for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
    char path[1024];
    char line[512];
    snprintf(path, sizeof path, "%s", __FILE__);
    char *tests = strstr(path, "tests/unit/libcommon/");
    assert_non_null(tests);
    snprintf(tests, sizeof path - (size_t)(tests - path), "proto/ecolink/v1/%s.proto", FILES[i]);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
      count += strncmp(line, "message ", 8) == 0;
    }
    fclose(file);
  }
  assert_int_equal(count, MESSAGE_COUNT);
}

static void test_every_list_is_flattened_with_its_page(void **state) {
  (void)state;
  int lists = 0;
  for (size_t i = 0; i < MESSAGE_COUNT; i++) {
    if (!has_form(MESSAGES[i], ECO_FORM_PAGE)) {
      continue;
    }
    lists++;
    eco_arena *arena = eco_arena_new();
    eco_buf out;
    eco_buf_init(&out, OUT_MAX);
    ProtobufCMessage *list = random_message(MESSAGES[i], arena);
    Ecolink__V1__PageInfo page = ECOLINK__V1__PAGE_INFO__INIT;
    page.has_more = 1;
    page.next_cursor = (char *)"next";
    *(Ecolink__V1__PageInfo **)eco_pb_at(
        list, protobuf_c_message_descriptor_get_field_by_name(MESSAGES[i], "page")->offset) = &page;
    assert_true(eco_pb_to_json(list, NULL, &out));
    yyjson_doc *doc = yyjson_read(out.data, out.len, 0);
    assert_non_null(doc);
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "object")), "list");
    assert_true(yyjson_is_arr(yyjson_obj_get(root, "data")));
    assert_true(yyjson_get_bool(yyjson_obj_get(root, "has_more")));
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "next_cursor")), "next");
    assert_null(yyjson_obj_get(root, "page"));
    yyjson_doc_free(doc);
    eco_buf_free(&out);
    eco_arena_free(arena);
  }
  assert_true(lists >= 10);
}

static void test_no_field_collides_with_the_micros_member_of_a_money_field(void **state) {
  (void)state;
  for (size_t i = 0; i < MESSAGE_COUNT; i++) {
    for (unsigned f = 0; f < MESSAGES[i]->n_fields; f++) {
      if (eco_json_form_of(&MESSAGES[i]->fields[f]) == ECO_FORM_MONEY) {
        char name[128];
        snprintf(name, sizeof name, "%s_micros", MESSAGES[i]->fields[f].name);
        assert_null(protobuf_c_message_descriptor_get_field_by_name(MESSAGES[i], name));
      }
    }
  }
}

#define LAUNCH &ecolink__v1__launch_request__descriptor
#define MODEL &ecolink__v1__create_model_request__descriptor

static eco_status read_text(const ProtobufCMessageDescriptor *type, const char *json, eco_arena *arena, void *out) {
  return eco_json_to_pb(json, strlen(json), type, &public_key, arena, out);
}

// ---- secrets ----

static void test_sealed_input_opens_with_the_secret_key_and_is_never_written(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__LaunchRequest *r = NULL;
  assert_true(eco_ok(
      read_text(LAUNCH, "{\"image_pull_secret\":\"hunter2\",\"secret_env\":{\"TOKEN\":\"hunter3\"}}", arena, &r)));
  char *plain = NULL;
  size_t len = 0;
  assert_true(eco_ok(eco_unseal(&public_key, &secret_key, r->image_pull_secret->box.data, r->image_pull_secret->box.len,
                                arena, &plain, &len)));
  assert_string_equal(plain, "hunter2");
  assert_int_equal(r->n_secret_env, 1);
  assert_true(eco_ok(eco_unseal(&public_key, &secret_key, r->secret_env[0]->value->box.data,
                                r->secret_env[0]->value->box.len, arena, &plain, &len)));
  assert_string_equal(plain, "hunter3");
  eco_buf out;
  eco_buf_init(&out, OUT_MAX);
  assert_true(eco_pb_to_json(&r->base, NULL, &out));
  assert_non_null(strstr(out.data, "\"secret_env\":[\"TOKEN\"]"));
  assert_null(strstr(out.data, "image_pull_secret"));
  assert_null(strstr(out.data, "hunter"));
  eco_buf_free(&out);
  eco_arena_free(arena);
}

static void test_without_a_seal_key_secrets_are_refused(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  ProtobufCMessage *out = NULL;
  static const char TEXT[] = "{\"hf_token\":\"hf_x\"}";
  assert_int_equal(eco_json_to_pb(TEXT, sizeof TEXT - 1, MODEL, NULL, arena, &out).code, ECO_INVALID_REQUEST);
  eco_arena_free(arena);
}

static void assert_no_secret(const char *json) {
  assert_null(strstr(json, "hush"));
  assert_null(strstr(json, "\"key\""));
}

static void test_stripping_clears_every_secret_at_any_depth_and_keeps_the_rest(void **state) {
  (void)state;
  Ecolink__V1__Secret secret = ECOLINK__V1__SECRET__INIT;
  secret.value = (char *)"hush";
  Ecolink__V1__ApiKey key = ECOLINK__V1__API_KEY__INIT;
  key.id = (char *)"key_1";
  key.key = &secret;
  Ecolink__V1__AcceptInviteResponse nested = ECOLINK__V1__ACCEPT_INVITE_RESPONSE__INIT;
  nested.api_key = &key;
  eco_buf out;
  eco_buf_init(&out, OUT_MAX);
  eco_pb_strip_secrets(&nested.base);
  assert_true(eco_pb_to_json(&nested.base, NULL, &out));
  assert_no_secret(out.data);
  assert_non_null(strstr(out.data, "key_1"));

  key.key = &secret;
  Ecolink__V1__ApiKey *items[] = {&key};
  Ecolink__V1__ApiKeyList list = ECOLINK__V1__API_KEY_LIST__INIT;
  list.n_data = 1;
  list.data = items;
  eco_pb_strip_secrets(&list.base);
  eco_buf_reset(&out);
  assert_true(eco_pb_to_json(&list.base, NULL, &out));
  assert_no_secret(out.data);
  assert_string_equal(secret.value, "hush");
  eco_buf_free(&out);
}

// ---- output ----

static void test_output_follows_the_type_rules(void **state) {
  (void)state;
  static const eco_json_object OBJECTS[] = {{&ecolink__v1__transaction__descriptor, "transaction"}, {NULL, NULL}};
  Ecolink__V1__Transaction t = ECOLINK__V1__TRANSACTION__INIT;
  Ecolink__V1__Timestamp at = ECOLINK__V1__TIMESTAMP__INIT;
  Ecolink__V1__Money amount = ECOLINK__V1__MONEY__INIT;
  at.micros = INT64_C(1763843023000000);
  amount.micros = -76800000;
  t.id = (char *)"txn_1";
  t.created_at = &at;
  t.type = ECOLINK__V1__TRANSACTION_TYPE__TRANSACTION_TYPE_HOLD_RELEASE;
  t.amount = &amount;
  t.instance_case = ECOLINK__V1__TRANSACTION__INSTANCE_INSTANCE_ID;
  t.instance_id = 142;
  eco_buf out;
  eco_buf_init(&out, OUT_MAX);
  assert_true(eco_pb_to_json(&t.base, OBJECTS, &out));
  assert_string_equal(out.data,
                      "{\"object\":\"transaction\",\"id\":\"txn_1\",\"created_at\":\"2025-11-22T20:23:43Z\","
                      "\"type\":\"hold_release\",\"amount\":\"-76.80\",\"amount_micros\":-76800000,"
                      "\"balance_after\":null,\"balance_after_micros\":null,\"description\":null,"
                      "\"instance_id\":142,\"sequence\":0}");
  eco_buf_free(&out);
}

static void test_output_stops_at_the_buffers_maximum(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__Instance *i = (void *)random_message(&ecolink__v1__instance__descriptor, arena);
  eco_buf whole;
  eco_buf_init(&whole, OUT_MAX);
  assert_true(eco_pb_to_json(&i->base, NULL, &whole));
  for (size_t max = 0; max + 1 < whole.len; max += 7) {
    eco_buf part;
    eco_buf_init(&part, max);
    assert_false(eco_pb_to_json(&i->base, NULL, &part));
    assert_true(part.len <= max);
    eco_buf_free(&part);
  }
  eco_buf_free(&whole);
  eco_arena_free(arena);
}

static void test_error_body_is_openai_shaped(void **state) {
  (void)state;
  eco_buf out;
  eco_buf_init(&out, ECO_ERROR_JSON_MAX);
  assert_true(eco_error_json(&out, eco_error_param(ECO_INVALID_REQUEST, "a\"b", "no \"such\"\nthing"), "req_1"));
  assert_string_equal(out.data,
                      "{\"error\":{\"message\":\"no \\\"such\\\"\\nthing\",\"type\":\"invalid_request_error\","
                      "\"code\":\"invalid_request\",\"param\":\"a\\\"b\",\"request_id\":\"req_1\"}}");
  eco_buf_reset(&out);
  assert_true(eco_error_json(&out, eco_error(ECO_NOT_FOUND, "gone"), ""));
  assert_string_equal(out.data,
                      "{\"error\":{\"message\":\"gone\",\"type\":\"invalid_request_error\",\"code\":\"not_found\","
                      "\"param\":null}}");
  eco_buf_free(&out);
}

int main(void) {
  eco_seal_keypair(&public_key, &secret_key);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_message_survives_the_way_to_json_and_back),
      cmocka_unit_test(test_the_list_of_messages_is_the_contracts),
      cmocka_unit_test(test_every_list_is_flattened_with_its_page),
      cmocka_unit_test(test_no_field_collides_with_the_micros_member_of_a_money_field),
      cmocka_unit_test(test_sealed_input_opens_with_the_secret_key_and_is_never_written),
      cmocka_unit_test(test_without_a_seal_key_secrets_are_refused),
      cmocka_unit_test(test_stripping_clears_every_secret_at_any_depth_and_keeps_the_rest),
      cmocka_unit_test(test_output_follows_the_type_rules),
      cmocka_unit_test(test_output_stops_at_the_buffers_maximum),
      cmocka_unit_test(test_error_body_is_openai_shaped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

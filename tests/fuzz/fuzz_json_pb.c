// Fuzzes the JSON mapper: the first byte chooses a request message, the rest is what a client sent. What is read must
// come out as JSON that reads back to the same message, unless it holds what JSON does not show (sealed values).
#include <stdlib.h>
#include <string.h>

#include "ecolink/json_pb.h"
#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
  const ProtobufCMessageDescriptor *type;
  bool shown;  // every field of it is shown in JSON
} TYPES[] = {
    {&ecolink__v1__launch_request__descriptor, false},
    {&ecolink__v1__create_model_request__descriptor, false},
    {&ecolink__v1__top_up_request__descriptor, true},
    {&ecolink__v1__put_region_request__descriptor, true},
    {&ecolink__v1__create_api_key_request__descriptor, true},
    {&ecolink__v1__put_gpu_type_request__descriptor, true},
    {&ecolink__v1__instance__descriptor, true},
    {&ecolink__v1__account__descriptor, true},
};
enum { TYPE_COUNT = sizeof TYPES / sizeof TYPES[0], OUT_MAX = 8 * 1024 * 1024 };

static void must(bool condition) {
  if (!condition) {
    abort();
  }
}

static size_t pack(const ProtobufCMessage *message, eco_arena *arena, uint8_t **out) {
  const size_t len = protobuf_c_message_get_packed_size(message);
  *out = eco_alloc(arena, len + 1);
  return protobuf_c_message_pack(message, *out);
}

static void read_back(const ProtobufCMessage *message, const eco_buf *json, eco_arena *arena) {
  ProtobufCMessage *again = NULL;
  const eco_status st = eco_json_to_pb(json->data, json->len, message->descriptor, NULL, arena, &again);
  must(eco_ok(st));
  uint8_t *a = NULL;
  uint8_t *b = NULL;
  const size_t a_len = pack(message, arena, &a);
  const size_t b_len = pack(again, arena, &b);
  must(a_len == b_len && memcmp(a, b, a_len) == 0);
}

static void try_text_parameter(const ProtobufCMessageDescriptor *type, const char *text, size_t len, eco_arena *arena) {
  ProtobufCMessage *message = eco_alloc(arena, type->sizeof_message);
  protobuf_c_message_init(type, message);
  for (unsigned i = 0; i < type->n_fields; i++) {
    const eco_status st = eco_pb_set_text(message, type->fields[i].name, text, len, arena);
    must(eco_ok(st) || st.code == ECO_INVALID_REQUEST);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static eco_seal_key public_key;
  static eco_seal_key secret_key;
  static bool ready;
  if (!ready) {
    eco_seal_keypair(&public_key, &secret_key);
    ready = true;
  }
  if (size == 0) {
    return 0;
  }
  const size_t chosen = data[0] % TYPE_COUNT;
  const char *json = (const char *)data + 1;
  eco_arena *arena = eco_arena_new();
  ProtobufCMessage *message = NULL;
  const eco_status st = eco_json_to_pb(json, size - 1, TYPES[chosen].type, &public_key, arena, &message);
  must(eco_ok(st) || st.code == ECO_INVALID_JSON || st.code == ECO_INVALID_REQUEST);
  if (eco_ok(st)) {
    eco_buf out;
    eco_buf_init(&out, OUT_MAX);
    must(eco_pb_to_json(message, NULL, &out));
    if (TYPES[chosen].shown) {
      read_back(message, &out, arena);
    }
    eco_pb_strip_secrets(message);
    eco_buf_free(&out);
  }
  try_text_parameter(TYPES[chosen].type, json, size - 1, arena);
  eco_arena_free(arena);
  return 0;
}

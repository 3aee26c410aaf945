// Clearing Secret fields before a message is kept (idempotent replay must not become a store of keys).
#include "ecolink/json_pb.h"
#include "ecolink/v1/common.pb-c.h"

static bool is_secret(const ProtobufCFieldDescriptor *field) {
  return field->type == PROTOBUF_C_TYPE_MESSAGE && field->descriptor == &ecolink__v1__secret__descriptor;
}

static void strip_repeated(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
  char *base = (char *)message;
  size_t *count = (size_t *)(void *)(base + field->quantifier_offset);
  if (is_secret(field)) {
    *count = 0;
    return;
  }
  ProtobufCMessage **items = *(ProtobufCMessage ***)(void *)(base + field->offset);
  for (size_t i = 0; i < *count; i++) {
    eco_pb_strip_secrets(items[i]);
  }
}

static void strip_single(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
  char *base = (char *)message;
  int *oneof_case = NULL;
  if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
    oneof_case = (int *)(void *)(base + field->quantifier_offset);
    if (*oneof_case != (int)field->id) {
      return;
    }
  }
  ProtobufCMessage **held = (ProtobufCMessage **)(void *)(base + field->offset);
  if (*held == NULL) {
    return;
  }
  if (!is_secret(field)) {
    eco_pb_strip_secrets(*held);
    return;
  }
  *held = NULL;
  if (oneof_case != NULL) {
    *oneof_case = 0;
  }
}

// Recursion follows the schema, which holds no message inside itself: its depth is the contract's.
void eco_pb_strip_secrets(ProtobufCMessage *message) {
  const ProtobufCMessageDescriptor *type = message->descriptor;
  for (unsigned i = 0; i < type->n_fields; i++) {
    const ProtobufCFieldDescriptor *field = &type->fields[i];
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
      continue;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
      strip_repeated(message, field);
    } else {
      strip_single(message, field);
    }
  }
}

// What the mapper's two directions share: how a field's type decides its JSON form, and access to fields by descriptor.
// The table of forms is the head of proto/ecolink/v1/common.proto; eco_json_form_of is its one implementation.
#ifndef ECOLINK_JSON_PB_INTERNAL_H
#define ECOLINK_JSON_PB_INTERNAL_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum eco_json_form {
  ECO_FORM_HIDDEN,  // bytes and kinds that the contract does not use: never in JSON
  ECO_FORM_STRING,
  ECO_FORM_BOOL,
  ECO_FORM_I32,
  ECO_FORM_I64,
  ECO_FORM_ENUM,
  ECO_FORM_TIMESTAMP,
  ECO_FORM_MONEY,  // two members: x and x_micros
  ECO_FORM_SECRET,
  ECO_FORM_SEALED,      // in only
  ECO_FORM_MAP,         // repeated KeyValue
  ECO_FORM_SEALED_MAP,  // repeated SealedKeyValue: in as a map, out as the list of names
  ECO_FORM_PAGE,        // out only, flattened
  ECO_FORM_MESSAGE,
} eco_json_form;

eco_json_form eco_json_form_of(const ProtobufCFieldDescriptor *field);

// The enum value's name without the prefix that its zero value (<PREFIX>_UNSPECIFIED) shows; NULL for the zero value
// and for unknown numbers. Upper case, borrowed from the descriptor.
const char *eco_json_enum_name(const ProtobufCEnumDescriptor *type, int number);
// The number of a lower-case word; 0 when there is none.
int eco_json_enum_number(const ProtobufCEnumDescriptor *type, const char *word, size_t len);

// Bytes of one element of a repeated field of this form.
size_t eco_json_element_size(eco_json_form form);

static inline void *eco_pb_at(const ProtobufCMessage *message, unsigned offset) {
  return (char *)(uintptr_t)message + offset;
}

static inline bool eco_pb_in_oneof(const ProtobufCFieldDescriptor *field) {
  return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

static inline bool eco_pb_repeated(const ProtobufCFieldDescriptor *field) {
  return field->label == PROTOBUF_C_LABEL_REPEATED;
}

#endif

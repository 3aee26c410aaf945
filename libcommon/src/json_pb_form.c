// A field's JSON form by its type, and the words of enums.
#include <ctype.h>
#include <string.h>

#include "ecolink/v1/common.pb-c.h"
#include "json_pb_internal.h"

static const struct {
  const ProtobufCMessageDescriptor *type;
  eco_json_form single;
  eco_json_form repeated;
} MESSAGE_FORMS[] = {
    {&ecolink__v1__timestamp__descriptor, ECO_FORM_TIMESTAMP, ECO_FORM_HIDDEN},
    {&ecolink__v1__money__descriptor, ECO_FORM_MONEY, ECO_FORM_HIDDEN},
    {&ecolink__v1__secret__descriptor, ECO_FORM_SECRET, ECO_FORM_HIDDEN},
    {&ecolink__v1__sealed__descriptor, ECO_FORM_SEALED, ECO_FORM_HIDDEN},
    {&ecolink__v1__key_value__descriptor, ECO_FORM_HIDDEN, ECO_FORM_MAP},
    {&ecolink__v1__sealed_key_value__descriptor, ECO_FORM_HIDDEN, ECO_FORM_SEALED_MAP},
    {&ecolink__v1__page_info__descriptor, ECO_FORM_PAGE, ECO_FORM_HIDDEN},
};

static eco_json_form message_form(const ProtobufCFieldDescriptor *field) {
  for (size_t i = 0; i < sizeof MESSAGE_FORMS / sizeof MESSAGE_FORMS[0]; i++) {
    if (field->descriptor == MESSAGE_FORMS[i].type) {
      return eco_pb_repeated(field) ? MESSAGE_FORMS[i].repeated : MESSAGE_FORMS[i].single;
    }
  }
  return ECO_FORM_MESSAGE;
}

eco_json_form eco_json_form_of(const ProtobufCFieldDescriptor *field) {
  switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
      return ECO_FORM_STRING;
    case PROTOBUF_C_TYPE_BOOL:
      return ECO_FORM_BOOL;
    case PROTOBUF_C_TYPE_INT32:
      return ECO_FORM_I32;
    case PROTOBUF_C_TYPE_INT64:
      return ECO_FORM_I64;
    case PROTOBUF_C_TYPE_ENUM:
      return ECO_FORM_ENUM;
    case PROTOBUF_C_TYPE_MESSAGE:
      return message_form(field);
    default:
      return ECO_FORM_HIDDEN;
  }
}

static size_t enum_prefix_len(const ProtobufCEnumDescriptor *type) {
  static const char SUFFIX[] = "UNSPECIFIED";
  const ProtobufCEnumValue *zero = protobuf_c_enum_descriptor_get_value(type, 0);
  if (zero == NULL) {
    return 0;
  }
  size_t len = strlen(zero->name);
  const size_t suffix_len = sizeof SUFFIX - 1;
  return len > suffix_len && strcmp(zero->name + len - suffix_len, SUFFIX) == 0 ? len - suffix_len : 0;
}

const char *eco_json_enum_name(const ProtobufCEnumDescriptor *type, int number) {
  const ProtobufCEnumValue *value = number == 0 ? NULL : protobuf_c_enum_descriptor_get_value(type, number);
  return value == NULL ? NULL : value->name + enum_prefix_len(type);
}

static bool is_lower_of(const char *word, size_t len, const char *name) {
  if (strlen(name) != len) {
    return false;
  }
  for (size_t i = 0; i < len; i++) {
    if (word[i] != (char)tolower((unsigned char)name[i])) {
      return false;
    }
  }
  return true;
}

int eco_json_enum_number(const ProtobufCEnumDescriptor *type, const char *word, size_t len) {
  const size_t prefix = enum_prefix_len(type);
  for (unsigned i = 0; i < type->n_values; i++) {
    if (type->values[i].value != 0 && is_lower_of(word, len, type->values[i].name + prefix)) {
      return type->values[i].value;
    }
  }
  return 0;
}

size_t eco_json_element_size(eco_json_form form) {
  switch (form) {
    case ECO_FORM_BOOL:
      return sizeof(protobuf_c_boolean);
    case ECO_FORM_I32:
      return sizeof(int32_t);
    case ECO_FORM_I64:
      return sizeof(int64_t);
    case ECO_FORM_ENUM:
      return sizeof(int);
    default:
      return sizeof(void *);
  }
}

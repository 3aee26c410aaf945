// Judging and storing single values, and the binding of text parameters (paths, queries).
#include "json_pb_set.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/v1/common.pb-c.h"

ProtobufCMessage *eco_json_new(const ProtobufCMessageDescriptor *type, eco_arena *arena) {
  ProtobufCMessage *message = eco_alloc(arena, type->sizeof_message);
  protobuf_c_message_init(type, message);
  return message;
}

void eco_json_enum_words(const ProtobufCEnumDescriptor *type, char *out, size_t size) {
  size_t len = 0;
  for (unsigned i = 0; i < type->n_values; i++) {
    const char *name = eco_json_enum_name(type, type->values[i].value);
    if (name == NULL) {
      continue;
    }
    if (len + strlen(name) + 3 > size) {
      break;
    }
    if (len > 0) {
      out[len++] = ',';
      out[len++] = ' ';
    }
    for (; *name != '\0'; name++) {
      out[len++] = (char)tolower((unsigned char)*name);
    }
  }
  out[len] = '\0';
}

eco_status eco_json_choose(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, const char *param) {
  if (!eco_pb_in_oneof(field)) {
    return eco_success();
  }
  int *chosen = eco_pb_at(message, field->quantifier_offset);
  if (*chosen != 0 && *chosen != (int)field->id) {
    return eco_error_param(ECO_INVALID_REQUEST, param, "%s excludes another member that was given too", param);
  }
  *chosen = (int)field->id;
  return eco_success();
}

static eco_status set_enum(const ProtobufCFieldDescriptor *field, void *at, const char *text, size_t len,
                           const char *param) {
  const int number = eco_json_enum_number(field->descriptor, text, len);
  if (number == 0) {
    char words[256];
    eco_json_enum_words(field->descriptor, words, sizeof words);
    return eco_error_param(ECO_INVALID_REQUEST, param, "%s must be one of: %s", param, words);
  }
  *(int *)at = number;
  return eco_success();
}

static eco_status set_timestamp(void *at, const char *text, const char *param, eco_arena *arena) {
  int64_t micros = 0;
  if (eco_rfc3339_parse(text, &micros) != 0) {
    return eco_error_param(ECO_INVALID_REQUEST, param,
                           "%s must be a time in RFC 3339 form, such as 2026-01-31T08:00:00Z", param);
  }
  Ecolink__V1__Timestamp *t = (void *)eco_json_new(&ecolink__v1__timestamp__descriptor, arena);
  t->micros = micros;
  *(Ecolink__V1__Timestamp **)at = t;
  return eco_success();
}

eco_status eco_json_set_text(const ProtobufCFieldDescriptor *field, void *at, const char *text, size_t len,
                             const char *param, eco_arena *arena) {
  if (len > ECO_JSON_STRING_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, param, "%s is longer than %d bytes", param, ECO_JSON_STRING_MAX);
  }
  if (memchr(text, '\0', len) != NULL) {
    return eco_error_param(ECO_INVALID_REQUEST, param, "%s must not contain a NUL character", param);
  }
  switch (eco_json_form_of(field)) {
    case ECO_FORM_STRING:
      *(char **)at = eco_strndup(arena, text, len);
      return eco_success();
    case ECO_FORM_ENUM:
      return set_enum(field, at, text, len, param);
    case ECO_FORM_TIMESTAMP:
      return set_timestamp(at, eco_strndup(arena, text, len), param, arena);
    case ECO_FORM_SECRET: {
      Ecolink__V1__Secret *secret = (void *)eco_json_new(&ecolink__v1__secret__descriptor, arena);
      secret->value = eco_strndup(arena, text, len);
      *(Ecolink__V1__Secret **)at = secret;
      return eco_success();
    }
    default:
      return eco_error_param(ECO_INVALID_REQUEST, param, "%s must not be a string", param);
  }
}

eco_status eco_json_set_integer(const ProtobufCFieldDescriptor *field, void *at, int64_t value, const char *param) {
  if (eco_json_form_of(field) == ECO_FORM_I64) {
    *(int64_t *)at = value;
    return eco_success();
  }
  if (value < INT32_MIN || value > INT32_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, param, "%s is out of range", param);
  }
  *(int32_t *)at = (int32_t)value;
  return eco_success();
}

// ---- text parameters ----

static bool text_form(eco_json_form form) {
  return form == ECO_FORM_STRING || form == ECO_FORM_BOOL || form == ECO_FORM_I32 || form == ECO_FORM_I64 ||
         form == ECO_FORM_ENUM || form == ECO_FORM_TIMESTAMP;
}

static const ProtobufCFieldDescriptor *text_field(const ProtobufCMessageDescriptor *type, const char *name) {
  const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(type, name);
  return field != NULL && !eco_pb_repeated(field) && text_form(eco_json_form_of(field)) ? field : NULL;
}

bool eco_pb_has_text_field(const ProtobufCMessageDescriptor *type, const char *name) {
  return text_field(type, name) != NULL;
}

static size_t utf8_sequence(const unsigned char *p, size_t n) {
  // RFC 3629 §4: no overlong forms, no surrogates, nothing above U+10FFFF.
  if (p[0] < 0x80) {
    return 1;
  }
  size_t len = p[0] >= 0xC2 && p[0] <= 0xDF   ? 2
               : p[0] >= 0xE0 && p[0] <= 0xEF ? 3
               : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4
                                              : 0;
  if (len == 0 || len > n) {
    return 0;
  }
  const unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
  if (p[1] < low || p[1] > high) {
    return 0;
  }
  for (size_t i = 2; i < len; i++) {
    if ((p[i] & 0xC0) != 0x80) {
      return 0;
    }
  }
  return len;
}

static bool utf8_valid(const char *text, size_t len) {
  const unsigned char *p = (const unsigned char *)text;
  for (size_t i = 0; i < len;) {
    const size_t step = utf8_sequence(p + i, len - i);
    if (step == 0) {
      return false;
    }
    i += step;
  }
  return true;
}

static bool parse_decimal(const char *text, size_t len, int64_t *out) {
  enum { DECIMAL_MAX = 20 };  // INT64_MIN has 20 characters
  char copy[DECIMAL_MAX + 1];
  if (len == 0 || len > DECIMAL_MAX) {
    return false;
  }
  memcpy(copy, text, len);
  copy[len] = '\0';
  const size_t sign = copy[0] == '-' ? 1 : 0;
  const size_t digits = strspn(copy + sign, "0123456789");
  if (digits == 0 || sign + digits != len || (copy[sign] == '0' && (digits > 1 || sign == 1))) {
    return false;
  }
  errno = 0;
  const long long value = strtoll(copy, NULL, 10);
  *out = value;
  return errno == 0;
}

static eco_status set_integer_text(const ProtobufCFieldDescriptor *field, void *at, const char *text, size_t len) {
  int64_t value = 0;
  if (!parse_decimal(text, len, &value)) {
    return eco_error_param(ECO_INVALID_REQUEST, field->name, "%s must be an integer", field->name);
  }
  return eco_json_set_integer(field, at, value, field->name);
}

static eco_status set_bool_text(void *at, const char *text, size_t len, const char *name) {
  const bool yes = len == 4 && memcmp(text, "true", 4) == 0;
  const bool no = len == 5 && memcmp(text, "false", 5) == 0;
  if (!yes && !no) {
    return eco_error_param(ECO_INVALID_REQUEST, name, "%s must be true or false", name);
  }
  *(protobuf_c_boolean *)at = yes;
  return eco_success();
}

eco_status eco_pb_set_text(ProtobufCMessage *message, const char *name, const char *text, size_t len,
                           eco_arena *arena) {
  const ProtobufCFieldDescriptor *field = text_field(message->descriptor, name);
  if (field == NULL) {
    return eco_error_param(ECO_INVALID_REQUEST, name, "unknown parameter");
  }
  if (!utf8_valid(text, len)) {
    return eco_error_param(ECO_INVALID_REQUEST, field->name, "%s is not valid UTF-8", field->name);
  }
  void *at = eco_pb_at(message, field->offset);
  ECO_TRY(eco_json_choose(message, field, field->name));
  switch (eco_json_form_of(field)) {
    case ECO_FORM_I32:
    case ECO_FORM_I64:
      return set_integer_text(field, at, text, len);
    case ECO_FORM_BOOL:
      return set_bool_text(at, text, len, field->name);
    default:
      return eco_json_set_text(field, at, text, len, field->name, arena);
  }
}

// protobuf -> JSON, written straight into a bounded buffer. Recursion follows the schema, never the data.
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/json_pb.h"
#include "ecolink/money.h"
#include "ecolink/v1/common.pb-c.h"
#include "json_pb_internal.h"

// One object being written: `comma` tells whether a member came before.
typedef struct writer {
  eco_buf *out;
  const eco_json_object *objects;
  bool comma;
} writer;

static bool put_string(eco_buf *out, const char *s) {
  return eco_buf_json_string(out, s, strlen(s));
}

static bool put_text_or_null(eco_buf *out, const char *s) {
  return s == NULL || s[0] == '\0' ? eco_buf_puts(out, "null") : put_string(out, s);
}

static bool put_name(writer *w, const char *name, const char *suffix) {
  bool ok = !w->comma || eco_buf_putc(w->out, ',');
  w->comma = true;
  return ok && eco_buf_printf(w->out, "\"%s%s\":", name, suffix);
}

static bool put_timestamp(eco_buf *out, const Ecolink__V1__Timestamp *t) {
  char text[ECO_RFC3339_MAX];
  if (t == NULL) {
    return eco_buf_puts(out, "null");
  }
  eco_rfc3339_format(t->micros, text);
  return put_string(out, text);
}

static bool put_money(writer *w, const char *name, const Ecolink__V1__Money *m) {
  if (m == NULL) {
    return put_name(w, name, "") && eco_buf_puts(w->out, "null") && put_name(w, name, "_micros") &&
           eco_buf_puts(w->out, "null");
  }
  char text[ECO_MONEY_TEXT_MAX];
  eco_money_format(m->micros, text);
  return put_name(w, name, "") && put_string(w->out, text) && put_name(w, name, "_micros") &&
         eco_buf_printf(w->out, "%" PRId64, m->micros);
}

static bool put_enum(eco_buf *out, const ProtobufCEnumDescriptor *type, int number) {
  const char *name = eco_json_enum_name(type, number);
  if (name == NULL) {
    return eco_buf_puts(out, "null");
  }
  bool ok = eco_buf_putc(out, '"');
  for (; *name != '\0'; name++) {
    ok = ok && eco_buf_putc(out, (char)tolower((unsigned char)*name));
  }
  return ok && eco_buf_putc(out, '"');
}

// A value at `at` of a form that takes one member; repeated fields call it for each element.
static bool put_value(writer *w, const ProtobufCFieldDescriptor *field, eco_json_form form, const void *at) {
  switch (form) {
    case ECO_FORM_STRING:
      return eco_pb_repeated(field) ? put_string(w->out, *(char *const *)at)
                                    : put_text_or_null(w->out, *(char *const *)at);
    case ECO_FORM_BOOL:
      return eco_buf_puts(w->out, *(const protobuf_c_boolean *)at ? "true" : "false");
    case ECO_FORM_I32:
      return eco_buf_printf(w->out, "%" PRId32, *(const int32_t *)at);
    case ECO_FORM_I64:
      return eco_buf_printf(w->out, "%" PRId64, *(const int64_t *)at);
    case ECO_FORM_ENUM:
      return put_enum(w->out, field->descriptor, *(const int *)at);
    case ECO_FORM_TIMESTAMP:
      return put_timestamp(w->out, *(Ecolink__V1__Timestamp *const *)at);
    case ECO_FORM_MESSAGE: {
      const ProtobufCMessage *inner = *(ProtobufCMessage *const *)at;
      return inner == NULL ? eco_buf_puts(w->out, "null") : eco_pb_to_json(inner, w->objects, w->out);
    }
    default:
      return false;
  }
}

static bool put_array(writer *w, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                      eco_json_form form) {
  const size_t count = *(size_t *)eco_pb_at(message, field->quantifier_offset);
  const char *items = *(char **)eco_pb_at(message, field->offset);
  bool ok = eco_buf_putc(w->out, '[');
  for (size_t i = 0; ok && i < count; i++) {
    ok = (i == 0 || eco_buf_putc(w->out, ',')) && put_value(w, field, form, items + i * eco_json_element_size(form));
  }
  return ok && eco_buf_putc(w->out, ']');
}

static bool put_map(writer *w, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
  const size_t count = *(size_t *)eco_pb_at(message, field->quantifier_offset);
  Ecolink__V1__KeyValue **items = *(Ecolink__V1__KeyValue ***)eco_pb_at(message, field->offset);
  bool ok = eco_buf_putc(w->out, '{');
  for (size_t i = 0; ok && i < count; i++) {
    ok = (i == 0 || eco_buf_putc(w->out, ',')) && put_string(w->out, items[i]->name) && eco_buf_putc(w->out, ':') &&
         put_string(w->out, items[i]->value);
  }
  return ok && eco_buf_putc(w->out, '}');
}

static bool put_sealed_names(writer *w, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
  const size_t count = *(size_t *)eco_pb_at(message, field->quantifier_offset);
  Ecolink__V1__SealedKeyValue **items = *(Ecolink__V1__SealedKeyValue ***)eco_pb_at(message, field->offset);
  bool ok = eco_buf_putc(w->out, '[');
  for (size_t i = 0; ok && i < count; i++) {
    ok = (i == 0 || eco_buf_putc(w->out, ',')) && put_string(w->out, items[i]->name);
  }
  return ok && eco_buf_putc(w->out, ']');
}

static bool put_page(writer *w, const Ecolink__V1__PageInfo *page) {
  return put_name(w, "has_more", "") && eco_buf_puts(w->out, page != NULL && page->has_more ? "true" : "false") &&
         put_name(w, "next_cursor", "") && put_text_or_null(w->out, page == NULL ? NULL : page->next_cursor);
}

static bool put_field(writer *w, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
  const eco_json_form form = eco_json_form_of(field);
  const void *at = eco_pb_at(message, field->offset);
  if (eco_pb_in_oneof(field) && *(int *)eco_pb_at(message, field->quantifier_offset) != (int)field->id) {
    return true;
  }
  switch (form) {
    case ECO_FORM_HIDDEN:
    case ECO_FORM_SEALED:
      return true;
    case ECO_FORM_MAP:
      return put_name(w, field->name, "") && put_map(w, message, field);
    case ECO_FORM_SEALED_MAP:
      return put_name(w, field->name, "") && put_sealed_names(w, message, field);
    case ECO_FORM_MONEY:
      return put_money(w, field->name, *(Ecolink__V1__Money *const *)at);
    case ECO_FORM_PAGE:
      return put_page(w, *(Ecolink__V1__PageInfo *const *)at);
    case ECO_FORM_SECRET: {
      // A secret is shown once: most answers have none, and then the member is left out rather than null.
      const Ecolink__V1__Secret *secret = *(Ecolink__V1__Secret *const *)at;
      return secret == NULL || (put_name(w, field->name, "") && put_text_or_null(w->out, secret->value));
    }
    default:
      return put_name(w, field->name, "") &&
             (eco_pb_repeated(field) ? put_array(w, message, field, form) : put_value(w, field, form, at));
  }
}

static const char *object_name(const ProtobufCMessageDescriptor *type, const eco_json_object *objects) {
  for (unsigned i = 0; i < type->n_fields; i++) {
    if (eco_json_form_of(&type->fields[i]) == ECO_FORM_PAGE) {
      return "list";
    }
  }
  for (; objects != NULL && objects->type != NULL; objects++) {
    if (objects->type == type) {
      return objects->object;
    }
  }
  return NULL;
}

bool eco_pb_to_json(const ProtobufCMessage *message, const eco_json_object *objects, eco_buf *out) {
  const ProtobufCMessageDescriptor *type = message->descriptor;
  writer w = {.out = out, .objects = objects};
  bool ok = eco_buf_putc(out, '{');
  const char *object = object_name(type, objects);
  if (object != NULL) {
    ok = ok && put_name(&w, "object", "") && put_string(out, object);
  }
  for (unsigned i = 0; ok && i < type->n_fields; i++) {
    ok = put_field(&w, message, &type->fields[i]);
  }
  return ok && eco_buf_putc(out, '}');
}

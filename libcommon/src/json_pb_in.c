// JSON -> protobuf. yyjson parses without recursion; the walk below recurses along the schema alone, because an unknown
// member is refused before anybody looks inside it.
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "ecolink/json_pb.h"
#include "ecolink/money.h"
#include "ecolink/v1/common.pb-c.h"
#include "json_pb_internal.h"
#include "json_pb_set.h"

typedef struct reader {
  eco_arena *arena;
  const eco_seal_key *seal_key;
  char path[ECO_STATUS_PARAM_MAX];  // of the value at hand; cut where it would be longer
  size_t path_len;
} reader;

// Which members of an object were seen: a Money field has two.
enum { SEEN_VALUE = 1, SEEN_MICROS = 2 };

static size_t path_push(reader *r, const char *separator, const char *name) {
  const size_t before = r->path_len;
  const int n = snprintf(r->path + before, sizeof r->path - before, "%s%s", before == 0 ? "" : separator, name);
  r->path_len = n < 0 ? before : before + (size_t)n;
  if (r->path_len >= sizeof r->path) {
    r->path_len = sizeof r->path - 1;
  }
  return before;
}

static size_t path_push_index(reader *r, size_t index) {
  char text[32];
  snprintf(text, sizeof text, "[%zu]", index);
  return path_push(r, "", text);
}

static void path_pop(reader *r, size_t before) {
  r->path_len = before;
  r->path[before] = '\0';
}

static eco_status refuse(const reader *r, const char *what) {
  return eco_error_param(ECO_INVALID_REQUEST, r->path, "%s %s", r->path_len == 0 ? "the body" : r->path, what);
}

static eco_status read_object(reader *r, yyjson_val *object, ProtobufCMessage *message);

// ---- single values ----

static eco_status read_money(reader *r, yyjson_val *value, bool micros, bool compare, void *at) {
  int64_t amount = 0;
  if (micros) {
    if (!yyjson_is_int(value) || (yyjson_is_uint(value) && yyjson_get_uint(value) > INT64_MAX)) {
      return refuse(r, "must be an integer of micro-dollars");
    }
    amount = yyjson_get_sint(value);
  } else if (!yyjson_is_str(value) || strlen(yyjson_get_str(value)) != yyjson_get_len(value) ||
             !eco_money_parse(yyjson_get_str(value), &amount)) {
    return refuse(r, "must be a string of decimal dollars with at most 6 fraction digits, such as \"12.50\"");
  }
  Ecolink__V1__Money **held = at;
  if (compare && *held != NULL && (*held)->micros != amount) {
    return refuse(r, "and its other form (dollars, micro-dollars) say different amounts: give one of them");
  }
  if (*held == NULL) {
    *held = (void *)eco_json_new(&ecolink__v1__money__descriptor, r->arena);
  }
  (*held)->micros = amount;
  return eco_success();
}

static eco_status seal_value(reader *r, yyjson_val *value, Ecolink__V1__Sealed **out) {
  if (!yyjson_is_str(value)) {
    return refuse(r, "must be a string");
  }
  const size_t len = yyjson_get_len(value);
  const char *text = yyjson_get_str(value);
  if (len > ECO_JSON_SECRET_MAX) {
    return refuse(r, "is too long for a secret (16 KiB at most)");
  }
  if (memchr(text, '\0', len) != NULL) {
    return refuse(r, "must not contain a NUL character");
  }
  if (r->seal_key == NULL) {
    return refuse(r, "cannot be taken: no key to seal it with is set up");
  }
  Ecolink__V1__Sealed *sealed = (void *)eco_json_new(&ecolink__v1__sealed__descriptor, r->arena);
  eco_seal(r->seal_key, text, len, r->arena, &sealed->box.data, &sealed->box.len);
  *out = sealed;
  return eco_success();
}

static eco_status read_integer(reader *r, yyjson_val *value, const ProtobufCFieldDescriptor *field, void *at) {
  if (!yyjson_is_int(value)) {
    return refuse(r, "must be an integer");
  }
  if (yyjson_is_uint(value) && yyjson_get_uint(value) > INT64_MAX) {
    return refuse(r, "is out of range");
  }
  return eco_json_set_integer(field, at, yyjson_get_sint(value), r->path);
}

static eco_status read_message(reader *r, yyjson_val *value, const ProtobufCFieldDescriptor *field, void *at) {
  if (!yyjson_is_obj(value)) {
    return refuse(r, "must be an object");
  }
  ProtobufCMessage *inner = eco_json_new(field->descriptor, r->arena);
  ECO_TRY(read_object(r, value, inner));
  *(ProtobufCMessage **)at = inner;
  return eco_success();
}

static eco_status read_value(reader *r, yyjson_val *value, const ProtobufCFieldDescriptor *field, void *at) {
  switch (eco_json_form_of(field)) {
    case ECO_FORM_BOOL:
      if (!yyjson_is_bool(value)) {
        return refuse(r, "must be true or false");
      }
      *(protobuf_c_boolean *)at = yyjson_get_bool(value);
      return eco_success();
    case ECO_FORM_I32:
    case ECO_FORM_I64:
      return read_integer(r, value, field, at);
    case ECO_FORM_SEALED:
      // "" is the absent string everywhere; an empty token is no token.
      return yyjson_equals_str(value, "") ? eco_success() : seal_value(r, value, at);
    case ECO_FORM_MESSAGE:
      return read_message(r, value, field, at);
    default:
      if (!yyjson_is_str(value)) {
        return refuse(r, "must be a string");
      }
      return eco_json_set_text(field, at, yyjson_get_str(value), yyjson_get_len(value), r->path, r->arena);
  }
}

// ---- arrays and maps ----

static eco_status read_array(reader *r, yyjson_val *array, const ProtobufCFieldDescriptor *field,
                             ProtobufCMessage *message) {
  if (!yyjson_is_arr(array)) {
    return refuse(r, "must be an array");
  }
  const size_t count = yyjson_arr_size(array);
  if (count > ECO_JSON_ITEMS_MAX) {
    return refuse(r, "has too many elements (256 at most)");
  }
  const size_t size = eco_json_element_size(eco_json_form_of(field));
  char *items = eco_alloc_array(r->arena, count == 0 ? 1 : count, size);
  yyjson_arr_iter it = yyjson_arr_iter_with(array);
  for (size_t i = 0; i < count; i++) {
    yyjson_val *element = yyjson_arr_iter_next(&it);
    const size_t before = path_push_index(r, i);
    if (yyjson_is_null(element)) {
      return refuse(r, "must not be null");
    }
    ECO_TRY(read_value(r, element, field, items + i * size));
    path_pop(r, before);
  }
  *(size_t *)eco_pb_at(message, field->quantifier_offset) = count;
  *(void **)eco_pb_at(message, field->offset) = items;
  return eco_success();
}

static bool map_name_ok(yyjson_val *key) {
  const size_t len = yyjson_get_len(key);
  return len > 0 && len <= ECO_JSON_NAME_MAX && memchr(yyjson_get_str(key), '\0', len) == NULL;
}

static eco_status read_entry(reader *r, yyjson_val *key, yyjson_val *value, bool sealed, ProtobufCMessage **out) {
  char *name = eco_strndup(r->arena, yyjson_get_str(key), yyjson_get_len(key));
  if (sealed) {
    Ecolink__V1__SealedKeyValue *entry = (void *)eco_json_new(&ecolink__v1__sealed_key_value__descriptor, r->arena);
    entry->name = name;
    *out = &entry->base;
    return seal_value(r, value, &entry->value);
  }
  if (!yyjson_is_str(value)) {
    return refuse(r, "must be a string");
  }
  Ecolink__V1__KeyValue *entry = (void *)eco_json_new(&ecolink__v1__key_value__descriptor, r->arena);
  entry->name = name;
  *out = &entry->base;
  static const ProtobufCFieldDescriptor TEXT = {.type = PROTOBUF_C_TYPE_STRING, .label = PROTOBUF_C_LABEL_NONE};
  return eco_json_set_text(&TEXT, &entry->value, yyjson_get_str(value), yyjson_get_len(value), r->path, r->arena);
}

// Quadratic, and bounded by ECO_JSON_ITEMS_MAX: names are few.
static bool name_repeated(yyjson_val *object, size_t index, yyjson_val *key) {
  yyjson_obj_iter it = yyjson_obj_iter_with(object);
  for (size_t i = 0; i < index; i++) {
    yyjson_val *other = yyjson_obj_iter_next(&it);
    if (yyjson_equals_strn(other, yyjson_get_str(key), yyjson_get_len(key))) {
      return true;
    }
  }
  return false;
}

static eco_status read_map(reader *r, yyjson_val *object, const ProtobufCFieldDescriptor *field,
                           ProtobufCMessage *message) {
  if (!yyjson_is_obj(object)) {
    return refuse(r, "must be an object of names and strings");
  }
  const size_t count = yyjson_obj_size(object);
  if (count > ECO_JSON_ITEMS_MAX) {
    return refuse(r, "has too many members (256 at most)");
  }
  const bool sealed = eco_json_form_of(field) == ECO_FORM_SEALED_MAP;
  ProtobufCMessage **items = eco_alloc_array(r->arena, count == 0 ? 1 : count, sizeof *items);
  yyjson_obj_iter it = yyjson_obj_iter_with(object);
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    yyjson_val *key = yyjson_obj_iter_next(&it);
    const size_t before = path_push(r, ".", yyjson_get_str(key));
    if (!map_name_ok(key)) {
      return refuse(r, "has a name that is empty, longer than 256 bytes or holds a NUL character");
    }
    if (name_repeated(object, i, key)) {
      return refuse(r, "is given more than once");
    }
    yyjson_val *value = yyjson_obj_iter_get_val(key);
    if (!yyjson_is_null(value)) {
      ECO_TRY(read_entry(r, key, value, sealed, &items[used]));
      used++;
    }
    path_pop(r, before);
  }
  *(size_t *)eco_pb_at(message, field->quantifier_offset) = used;
  *(void **)eco_pb_at(message, field->offset) = items;
  return eco_success();
}

// ---- objects ----

static bool takes_input(eco_json_form form) {
  return form != ECO_FORM_HIDDEN && form != ECO_FORM_PAGE;
}

// The field that a member belongs to; *seen says which of its forms the member is.
static const ProtobufCFieldDescriptor *member_field(const ProtobufCMessageDescriptor *type, yyjson_val *key,
                                                    unsigned *seen) {
  static const char SUFFIX[] = "_micros";
  enum { NAME_MAX_LEN = 64, SUFFIX_LEN = sizeof SUFFIX - 1 };
  const char *name = yyjson_get_str(key);
  const size_t len = yyjson_get_len(key);
  if (len == 0 || len >= NAME_MAX_LEN || strlen(name) != len) {
    return NULL;
  }
  const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(type, name);
  *seen = SEEN_VALUE;
  if (field == NULL && len > SUFFIX_LEN && strcmp(name + len - SUFFIX_LEN, SUFFIX) == 0) {
    char stem[NAME_MAX_LEN];
    memcpy(stem, name, len - SUFFIX_LEN);
    stem[len - SUFFIX_LEN] = '\0';
    field = protobuf_c_message_descriptor_get_field_by_name(type, stem);
    *seen = SEEN_MICROS;
    return field != NULL && eco_json_form_of(field) == ECO_FORM_MONEY ? field : NULL;
  }
  return field != NULL && takes_input(eco_json_form_of(field)) ? field : NULL;
}

static eco_status refuse_unknown(const reader *r, const ProtobufCMessageDescriptor *type) {
  char known[256];
  size_t len = 0;
  known[0] = '\0';
  for (unsigned i = 0; i < type->n_fields; i++) {
    if (!takes_input(eco_json_form_of(&type->fields[i]))) {
      continue;
    }
    const int n = snprintf(known + len, sizeof known - len, "%s%s", len == 0 ? "" : ", ", type->fields[i].name);
    if (n < 0 || (size_t)n >= sizeof known - len) {
      known[len] = '\0';
      break;
    }
    len += (size_t)n;
  }
  return eco_error_param(ECO_INVALID_REQUEST, r->path, "unknown member; known here: %s", len == 0 ? "none" : known);
}

static eco_status read_member(reader *r, yyjson_val *value, const ProtobufCFieldDescriptor *field, bool micros,
                              bool compare, ProtobufCMessage *message) {
  const eco_json_form form = eco_json_form_of(field);
  void *at = eco_pb_at(message, field->offset);
  if (form == ECO_FORM_MAP || form == ECO_FORM_SEALED_MAP) {
    return read_map(r, value, field, message);
  }
  if (eco_pb_repeated(field)) {
    return read_array(r, value, field, message);
  }
  ECO_TRY(eco_json_choose(message, field, r->path));
  return form == ECO_FORM_MONEY ? read_money(r, value, micros, compare, at) : read_value(r, value, field, at);
}

static eco_status read_object(reader *r, yyjson_val *object, ProtobufCMessage *message) {
  const ProtobufCMessageDescriptor *type = message->descriptor;
  unsigned char *seen = eco_alloc_array(r->arena, type->n_fields + 1, 1);
  yyjson_obj_iter it = yyjson_obj_iter_with(object);
  for (yyjson_val *key = yyjson_obj_iter_next(&it); key != NULL; key = yyjson_obj_iter_next(&it)) {
    const size_t before = path_push(r, ".", yyjson_get_str(key));
    unsigned form = 0;
    const ProtobufCFieldDescriptor *field = member_field(type, key, &form);
    if (field == NULL) {
      return refuse_unknown(r, type);
    }
    unsigned char *mark = &seen[field - type->fields];
    if (*mark & form) {
      return refuse(r, "is given more than once");
    }
    yyjson_val *value = yyjson_obj_iter_get_val(key);
    if (!yyjson_is_null(value)) {
      ECO_TRY(read_member(r, value, field, form == SEEN_MICROS, *mark != 0, message));
    }
    *mark |= (unsigned char)form;
    path_pop(r, before);
  }
  return eco_success();
}

// ---- the document ----

// Depth is judged before parsing, so that no nesting costs memory. Brackets within strings do not count.
static bool depth_ok(const char *json, size_t len, size_t *at) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < len; i++) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') {
        i++;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > ECO_JSON_DEPTH_MAX) {
        *at = i;
        return false;
      }
    } else if (c == ']' || c == '}') {
      depth--;
    }
  }
  return true;
}

static eco_status malformed(const char *json, size_t len, const yyjson_read_err *err) {
  size_t line = 0;
  size_t column = 0;
  size_t character = 0;
  if (err->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
    return eco_error(ECO_OVERLOADED, "not enough memory to read the body; try again");
  }
  if (!yyjson_locate_pos(json, len, err->pos, &line, &column, &character)) {
    return eco_error(ECO_INVALID_JSON, "the body is not JSON: %s at byte %zu", err->msg, err->pos);
  }
  return eco_error(ECO_INVALID_JSON, "the body is not JSON: %s at byte %zu (line %zu, column %zu)", err->msg, err->pos,
                   line, column);
}

eco_status eco_json_to_pb(const char *json, size_t len, const ProtobufCMessageDescriptor *type,
                          const eco_seal_key *seal_key, eco_arena *arena, ProtobufCMessage **out) {
  size_t deep = 0;
  if (len == 0) {
    return eco_error(ECO_INVALID_JSON, "the body is empty: send a JSON object");
  }
  if (!depth_ok(json, len, &deep)) {
    return eco_error(ECO_INVALID_JSON, "the body is nested deeper than %d levels at byte %zu", ECO_JSON_DEPTH_MAX,
                     deep);
  }
  // Parsed in place, in a copy of our own: every string of the document lies in it, and it is wiped below.
  char *copy = calloc(1, len + YYJSON_PADDING_SIZE);
  if (copy == NULL) {
    return eco_error(ECO_OVERLOADED, "not enough memory to read the body; try again");
  }
  memcpy(copy, json, len);
  yyjson_read_err err = {0};
  yyjson_doc *doc = yyjson_read_opts(copy, len, YYJSON_READ_INSITU, NULL, &err);
  eco_status st;
  if (doc == NULL) {
    st = malformed(json, len, &err);
  } else if (!yyjson_is_obj(yyjson_doc_get_root(doc))) {
    st = eco_error(ECO_INVALID_REQUEST, "the body must be a JSON object");
  } else {
    reader r = {.arena = arena, .seal_key = seal_key};
    *out = eco_json_new(type, arena);
    st = read_object(&r, yyjson_doc_get_root(doc), *out);
  }
  yyjson_doc_free(doc);
  sodium_memzero(copy, len);
  free(copy);
  return st;
}

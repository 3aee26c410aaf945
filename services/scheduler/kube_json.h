// Shorthand for building JSON documents. Strings are borrowed until the document is written.
#ifndef SCHEDULER_KUBE_JSON_H
#define SCHEDULER_KUBE_JSON_H

#include <stdint.h>
#include <stdlib.h>
#include <yyjson.h>

#include "ecolink/arena.h"

typedef struct kube_json {
  yyjson_mut_doc *doc;
  eco_arena *arena;
} kube_json;

static inline kube_json kube_json_new(eco_arena *arena) {
  return (kube_json){.doc = yyjson_mut_doc_new(NULL), .arena = arena};
}
static inline yyjson_mut_val *kube_obj(kube_json *j) {
  return yyjson_mut_obj(j->doc);
}
static inline yyjson_mut_val *kube_arr(kube_json *j) {
  return yyjson_mut_arr(j->doc);
}
static inline void kube_put(kube_json *j, yyjson_mut_val *object, const char *key, yyjson_mut_val *value) {
  (void)yyjson_mut_obj_add(object, yyjson_mut_str(j->doc, key), value);
}
static inline yyjson_mut_val *kube_put_obj(kube_json *j, yyjson_mut_val *object, const char *key) {
  yyjson_mut_val *value = kube_obj(j);
  kube_put(j, object, key, value);
  return value;
}
static inline yyjson_mut_val *kube_put_arr(kube_json *j, yyjson_mut_val *object, const char *key) {
  yyjson_mut_val *value = kube_arr(j);
  kube_put(j, object, key, value);
  return value;
}
static inline void kube_put_str(kube_json *j, yyjson_mut_val *object, const char *key, const char *value) {
  kube_put(j, object, key, yyjson_mut_str(j->doc, value));
}
static inline void kube_put_int(kube_json *j, yyjson_mut_val *object, const char *key, int64_t value) {
  kube_put(j, object, key, yyjson_mut_sint(j->doc, value));
}
static inline void kube_put_bool(kube_json *j, yyjson_mut_val *object, const char *key, bool value) {
  kube_put(j, object, key, yyjson_mut_bool(j->doc, value));
}
static inline void kube_add_str(kube_json *j, yyjson_mut_val *array, const char *value) {
  (void)yyjson_mut_arr_append(array, yyjson_mut_str(j->doc, value));
}
static inline yyjson_mut_val *kube_add_obj(kube_json *j, yyjson_mut_val *array) {
  yyjson_mut_val *value = kube_obj(j);
  (void)yyjson_mut_arr_append(array, value);
  return value;
}
// Writes the document into the arena and frees it.
static inline const char *kube_json_take(kube_json *j, yyjson_mut_val *root) {
  size_t len = 0;
  yyjson_mut_doc_set_root(j->doc, root);
  char *text = yyjson_mut_write(j->doc, 0, &len);
  const char *out = text ? eco_strndup(j->arena, text, len) : NULL;
  free(text);
  yyjson_mut_doc_free(j->doc);
  return out;
}

#endif

// Finds the top-level `model` of a JSON body while it streams past, without parsing the rest. Pure, resumable at any
// byte.
//
//   gw_model_finder f; gw_model_finder_init(&f);
//   while (bytes) if (!gw_model_finder_feed(&f, p, n)) -> f.error;   ...   gw_model_finder_finish(&f) at the body's end
//
// Offsets count from the body's first byte: [value_start, value_end) is the value with its quotes, known once `found`.
// `model` counts at depth 1 only, after unescaping the key. Feeding goes on after `found`, so that a duplicate is seen.
// What is wrong with deeper JSON is the engine's to judge; depth is a counter, so nesting costs nothing.
#ifndef GATEWAY_MODEL_FINDER_H
#define GATEWAY_MODEL_FINDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/status.h"
#include "gw_limits.h"

typedef enum gw_find_error {
  GW_FIND_OK,
  GW_FIND_INVALID_JSON,  // 400
  GW_FIND_NOT_OBJECT,    // 422 from here on
  GW_FIND_ENCODING,      // UTF-16 or UTF-32
  GW_FIND_MISSING,
  GW_FIND_DUPLICATE,
  GW_FIND_NOT_STRING,
  GW_FIND_TOO_LONG,
  GW_FIND_MULTIPART,  // malformed multipart body
  GW_FIND_PARTS,      // too many parts, or too large part headers
  GW_FIND_FILENAME,   // multipart: `model` is sent as a file
} gw_find_error;

typedef struct gw_model_finder {
  uint64_t pos;
  uint64_t value_start;
  uint64_t value_end;
  uint32_t depth;
  uint8_t state;
  uint8_t escape;   // 0 none, 1 after a backslash, 2..5 hex digits still to come + 1
  uint8_t matched;  // key bytes that matched "model"; NO_MATCH when it is another key
  uint8_t bom;
  bool found;
  gw_find_error error;
  uint32_t code_point;
  uint32_t high_surrogate;
  uint16_t name_len;
  char name[GW_MODEL_MAX];  // unescaped, not NUL-terminated
} gw_model_finder;

void gw_model_finder_init(gw_model_finder *f);
// False once an error is certain; f->error says which.
bool gw_model_finder_feed(gw_model_finder *f, const void *data, size_t n);
// The verdict on the whole body.
gw_find_error gw_model_finder_finish(gw_model_finder *f);
// The public error for it.
eco_status gw_find_status(gw_find_error error);

#endif
